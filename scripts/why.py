"""The command `why` in a checkout: `python scripts/why.py --help`."""

from normlab.why.cli import main

if __name__ == "__main__":
    main()
