"""`python -m zero123lib`: the command line."""

import sys

from zero123lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
