"""The command `inspect` in a checkout: `python scripts/inspect_norms.py --help`."""

from normlab.evaluation.cli import inspect_main

if __name__ == "__main__":
    inspect_main()
