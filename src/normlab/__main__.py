"""The one command of the wheel: `normlab COMMAND ...`, or `python -m normlab`."""

import sys
from collections.abc import Callable

from normlab import __version__
from normlab.spelling import did_you_mean

USAGE = """usage: normlab COMMAND [ARGUMENT ...]

commands:
  train      train one run, or a sweep with -m:   normlab train norm=custom
  compare    compare the runs of a folder:        normlab compare outputs/digits-mlp
  plan       say how many seeds are needed:       normlab plan outputs/pilot
  evaluate   score a stored run again:            normlab evaluate RUN
  inspect    print and draw a run's norm layers:  normlab inspect RUN
  predict    predict new samples with a run:      normlab predict RUN INPUT
  export     write a run's network as ONNX:       normlab export RUN
  find-lr    find a learning rate:                normlab find-lr norm=custom
  why        explain a norm in pictures:          normlab why RUN [RUN ...]
  check      examine a norm of your own:          normlab check FILE.py:CLASS
  jobs       list what was submitted to SLURM:    normlab jobs outputs

`normlab COMMAND --help` explains a command.
"""


def train() -> None:
    """`python train.py` of the checkout."""
    from normlab.main import main

    main()


def compare() -> None:
    """`python scripts/compare.py` of the checkout."""
    from normlab.report.cli import main

    main()


def plan() -> None:
    """`python scripts/plan.py` of the checkout."""
    from normlab.planning.cli import main

    main()


def evaluate() -> None:
    """`python scripts/evaluate.py` of the checkout."""
    from normlab.evaluation.cli import evaluate_main

    evaluate_main()


def inspect() -> None:
    """`python scripts/inspect_norms.py` of the checkout."""
    from normlab.evaluation.cli import inspect_main

    inspect_main()


def predict() -> None:
    """`python scripts/predict.py` of the checkout."""
    from normlab.predict.cli import main

    main()


def find_lr() -> None:
    """`python scripts/find_lr.py` of the checkout."""
    from normlab.find_lr.cli import main

    main()


def export() -> None:
    """`python scripts/export.py` of the checkout."""
    from normlab.export.cli import main

    main()


def why() -> None:
    """`python scripts/why.py` of the checkout."""
    from normlab.why.cli import main

    main()


def jobs() -> None:
    """`python scripts/jobs.py` of the checkout."""
    from normlab.sweeps.slurm_table import jobs_main

    jobs_main()


def check() -> None:
    """`python scripts/check.py` of the checkout."""
    from normlab.check.cli import main

    main()


COMMANDS: dict[str, Callable[[], None]] = {
    "train": train,
    "compare": compare,
    "plan": plan,
    "evaluate": evaluate,
    "inspect": inspect,
    "predict": predict,
    "export": export,
    "find-lr": find_lr,
    "why": why,
    "check": check,
    "jobs": jobs,
}


def main() -> None:
    """Run the command that the first argument names; exit with 2 if there is none."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h"):
        print(USAGE, end="")
    elif name == "--version":
        print(f"normlab {__version__}")
    elif name in COMMANDS:
        # The command sees its own arguments alone, as if it were a program.
        sys.argv = [f"normlab {name}", *sys.argv[2:]]
        COMMANDS[name]()
    else:
        hint = did_you_mean(name, COMMANDS)
        known = ", ".join(COMMANDS)
        print(
            f"error: normlab has no command {name!r}{hint}; it has {known}",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
