"""`python -m timewait`: the command line."""

import sys

from timewait.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
