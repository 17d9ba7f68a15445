"""A sweep in worker processes that is killed as a whole.

Of its jobs one crashes, one diverges and one is killed.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ("Calm", "Crashing", "Diverging", "Signalled")


def start(outputs: Path, struck: Path) -> subprocess.Popen:
    """The command of the sweep: four networks, two seeds, two workers.

    Of the networks that are killed, the first is killed once only.
    """
    words = [
        "-m",
        "hydra/launcher=queue",
        "hydra.launcher.workers=2",
        "trusted_packages=[hazards]",
        "seed=0,1",
    ]
    words += [
        f"model._target_={','.join(f'hazards.{name}' for name in NETWORKS)}",
        "trainer.max_epochs=6",
    ]
    words += ["device=cpu", "checkpoint.every_n_steps=7", f"paths.outputs={outputs}"]
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words],
        env=os.environ | {"PYTHONPATH": here, "NORMLAB_STRUCK": str(struck)},
        cwd=outputs.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Exit code and what was printed, without clocks and folders."""
    printed, _ = process.communicate(timeout=600)
    printed = re.sub(r"; see \S+$", "", printed, flags=re.MULTILINE)
    return process.returncode, re.sub(r" +\d+\.\d+ *$", "", printed, flags=re.MULTILINE)


def results(outputs: Path) -> dict[str, tuple]:
    """Status and metrics of every run by its name."""
    found = {}
    for path in outputs.glob("*/*/result.json"):
        result = json.loads(path.read_text())
        found[path.parent.name] = (result["status"], result["metrics"])
    return found


def killed_sweep(scratch: Path) -> dict:
    """Kill the sweep, repeat it with a job that dies, and repeat it again.

    Its table and results must be those of an undisturbed sweep.
    """
    (scratch / "struck already").touch()
    undisturbed = ended(start(scratch / "undisturbed", scratch / "struck already"))
    outputs, struck = scratch / "disturbed", scratch / "struck"
    first = start(outputs, struck)
    while len(results(outputs)) < 2 and first.poll() is None:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = ended(start(outputs, struck))
    third = ended(start(outputs, struck))
    statuses = [status for status, _ in results(outputs).values()]
    wrong = [] if third == undisturbed else [f"table: {third} instead of {undisturbed}"]
    wrong += [] if results(outputs) == results(scratch / "undisturbed") else ["results"]
    wrong += (
        []
        if second[0] == 1 and "was ended by SIGKILL" in second[1] and struck.exists()
        else [f"second: {second}"]
    )
    wrong += (
        []
        if sorted(statuses) == ["diverged"] * 2 + ["failed"] * 2 + ["finished"] * 4
        else [f"{statuses}"]
    )
    return {"jobs": 2 * len(NETWORKS), "kills": 2, "wrong": wrong}
