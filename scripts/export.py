"""The command `export` in a checkout: `python scripts/export.py --help`."""

from normlab.export.cli import main

if __name__ == "__main__":
    main()
