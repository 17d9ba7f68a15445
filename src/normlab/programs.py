"""How the commands of normlab are called, for messages that name one.

A checkout has scripts, such as `python train.py`. The wheel has `normlab train`.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

# The commands that are scripts of a checkout, too.
SCRIPTS = {
    "train": "train.py",
    "compare": "scripts/compare.py",
    "plan": "scripts/plan.py",
    "evaluate": "scripts/evaluate.py",
    "inspect": "scripts/inspect_norms.py",
    "find-lr": "scripts/find_lr.py",
    "check": "scripts/check.py",
    "jobs": "scripts/jobs.py",
}
# Commands that the wheel has as programs of their own, too.
OWN_PROGRAMS = {"train": "normlab-train", "compare": "normlab-compare"}
# How a command of training is typed, by the name of its program that a run stores.
TYPED = {
    "train.py": "python train.py",
    "normlab train": "normlab train",
    "normlab-train": "normlab-train",
}
CHECKOUT = Path(__file__).resolve().parents[2]


def program(command: str) -> str:
    """A command as the user of this process would call it.

    Args:
        command: such as `train`.

    Returns:
        `normlab train` or `normlab-train` if this process was started in that form;
        otherwise `python train.py` if there is a checkout, and `normlab train` if not.
    """
    called = Path(sys.argv[0]).stem
    if called in OWN_PROGRAMS.values() and command in OWN_PROGRAMS:
        return OWN_PROGRAMS[command]
    script = SCRIPTS.get(command, "")
    has_script = (CHECKOUT / script).is_file()
    if called.startswith("normlab") or not has_script:
        return f"normlab {command}"
    return f"python {script}"


def typed_command(words: Sequence[str]) -> str:
    """A stored command as one types it; empty if it is none of training.

    A run folder may come from somebody else, and another program could do anything.

    Args:
        words: the name of the program and its arguments.
    """
    program_name = words[0] if words else ""
    if program_name not in TYPED:
        return ""
    arguments = shlex.join(words[1:])
    return f"{TYPED[program_name]} {arguments}".rstrip()
