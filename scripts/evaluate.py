"""The command `evaluate` in a checkout: `python scripts/evaluate.py --help`."""

from normlab.evaluation.cli import evaluate_main

if __name__ == "__main__":
    evaluate_main()
