"""The command `find-lr` in a checkout: `python scripts/find_lr.py --help`."""

from normlab.find_lr.cli import main

if __name__ == "__main__":
    main()
