"""The command `plan` in a checkout: `python scripts/plan.py --help`."""

from normlab.planning.cli import main

if __name__ == "__main__":
    main()
