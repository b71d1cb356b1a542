"""`python -m zero123lib.cli`, for launchers that take a module."""

import sys

from zero123lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
