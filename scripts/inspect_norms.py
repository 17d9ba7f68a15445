"""Scale, shift, running and batch statistics of every norm layer of a run, printed and drawn.

python scripts/inspect_norms.py outputs/digits-mlp/RUN [--batches 50] [--out norms.png]
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument(
        "--batches",
        type=int,
        default=50,
        help="training batches for the batch statistics (default 50)",
    )
    parser.add_argument(
        "--out", type=Path, help="figure to write (default norms.png in the run folder)"
    )
    parser.add_argument(
        "--trust",
        nargs="+",
        default=[],
        metavar="PACKAGE",
        help="packages of your own that it calls",
    )
    options = parser.parse_args()
    from rich.console import Console

    from normlab.config.trust import load_only_weights
    from normlab.evaluation.inspection import draw_layers, inspect_run, layers_table

    load_only_weights()
    try:
        if options.batches < 1:
            raise ValueError(f"--batches must be at least 1, got {options.batches}")
        states = inspect_run(options.run, options.batches, options.trust)
        path = options.out or options.run / "norms.png"
        draw_layers(states, options.run.name).savefig(path, dpi=130, facecolor="white")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    console = (
        Console(highlight=False)
        if sys.stdout.isatty()
        else Console(highlight=False, width=200)
    )
    console.print(layers_table(states))
    console.print(f"[dim]figure[/dim]  {path}", soft_wrap=True)


if __name__ == "__main__":
    main()
