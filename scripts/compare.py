"""Compare runs: `python scripts/compare.py outputs/GROUP --by norm --baseline none`."""

from normlab.report.cli import main

if __name__ == "__main__":
    main()
