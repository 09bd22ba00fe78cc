"""Packages that only some devices need: asked for where they are used, named with the way to get them."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from ...spaces.errors import UserError, first_line


class MissingExtraError(UserError):
    """A package is missing, or does not load: no fault of the model."""


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``; ``UserError`` that names the ``extra`` of repareto which installs it where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        # A package that is there and does not load (a missing library, say) is not mended by installing it.
        top = module.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] == top:
            raise MissingExtraError(f'{top} needs the extra "{extra}": pip install "repareto[{extra}]"') from error
        raise MissingExtraError(f"{top} is installed and does not load: {first_line(error)}") from error


def installed_version(distribution: str, extra: str) -> str:
    """The version of an installed distribution; ``UserError`` as in ``require`` where it is missing."""
    try:
        return version(distribution)
    except PackageNotFoundError as error:
        raise MissingExtraError(f'{distribution} needs the extra "{extra}": pip install "repareto[{extra}]"') from error
