"""`python -m timewait`: the command line."""

from timewait.cli.main import main

if __name__ == "__main__":
    main()
