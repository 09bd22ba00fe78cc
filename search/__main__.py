"""``python -m repareto.search``: the command line, for nodes that got the code with a job and have no script of it."""

from .cli import main

if __name__ == "__main__":
    main()
