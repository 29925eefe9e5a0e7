"""`python -m core.cli` is the command `minidiff`."""

from core.cli import main

if __name__ == "__main__":
    main()
