"""The command `check` in a checkout: `python scripts/check.py --help`."""

from normlab.check.cli import main

if __name__ == "__main__":
    main()
