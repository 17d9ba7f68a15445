"""Run the notebooks' experiments and write docs/results/experiments.md.

    python scripts/reproduction DATA [--only mlp_mnist]

If an experiment fails, the others still run and the document is written; the exit code
is then 1.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "results" / "experiments.md"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data",
        help="folder with MNIST/, FashionMNIST/, cifar-10-batches-py/, or some of them",
    )
    parser.add_argument(
        "--seeds", type=int, default=10, help="seeds per arm (default 10)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="EXPERIMENT",
        help="run only these; the document shows all experiments that have runs",
    )
    parser.add_argument(
        "--outputs",
        type=Path,
        default=Path("outputs"),
        help="folder of the runs (default outputs)",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="run nothing; write the document from the runs that exist",
    )
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "scripts"))  # makes `reproduction` a package
    from reproduction.experiments import write_results

    try:
        write_results(
            DOCUMENT,
            options.data,
            options.outputs,
            options.seeds,
            options.only,
            options.write,
        )
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, RuntimeError) else 2)


if __name__ == "__main__":
    main()
