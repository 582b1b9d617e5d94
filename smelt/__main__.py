"""`python -m smelt` is the command line."""

from smelt.cli import main

if __name__ == "__main__":
    main()
