"""The one exception that stands for a user's mistake."""


class UserError(ValueError):
    """Something that the user can mend: the message names the thing, its value, the place and the way out.

    The command line prints it as one line and exits with code 2. Broken invariants of our own
    are plain ``assert`` or other exceptions, and keep their traceback.
    """
