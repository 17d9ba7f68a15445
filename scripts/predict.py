"""The command `predict` in a checkout: `python scripts/predict.py --help`."""

from normlab.predict.cli import main

if __name__ == "__main__":
    main()
