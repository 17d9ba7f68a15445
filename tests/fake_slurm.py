#!/usr/bin/env python3
"""The commands of SLURM that submitit uses, over processes of this machine.

The commands are links to this file, which goes by the name that it was called by.
FAKE_SLURM names a folder with one file for every job: its batch script, its process,
and how often it was queued again.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    (FOLDER / "script.sh").write_text(text)
    array = re.search(r"#SBATCH --array=0-(\d+)", text)
    number = 100 + len(list(FOLDER.glob("*.json")))
    names = [str(number)]
    if array:
        names = [f"{number}_{task}" for task in range(int(array.group(1)) + 1)]
    for name in names:
        start(name, script, requeued=0)
    print(f"Submitted batch job {number}")


def start(name: str, script: str, requeued: int) -> None:
    job, _, task = name.partition("_")
    variables = {
        "SLURM_JOB_ID": job,
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_JOB_NAME": "normlab",
    }
    if task:
        variables |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": task}
    # The script ignores the signal, which is for the job: as with `sbatch --signal`.
    command = ["bash", "-c", f"trap '' USR2; . {script}"]
    with open(FOLDER / f"{name}.log", "a") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | variables,
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
    entry = {"script": script, "pid": process.pid, "requeued": requeued}
    (FOLDER / f"{name}.json").write_text(json.dumps(entry))


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def srun(*words: str) -> None:
    command = list(words)
    while command[0].startswith("--"):
        del command[: 2 if command[0] in ("--output", "--error") else 1]
    os.execvp(command[0], command)


def scontrol(action: str, name: str) -> None:
    assert action == "requeue"
    entry = json.loads((FOLDER / f"{name}.json").read_text())
    (FOLDER / f"{name}.json").write_text(json.dumps(entry | {"pending": True}))
    subprocess.Popen(
        [sys.executable, Path(__file__).resolve(), "restart", name],
        start_new_session=True,
    )


def restart(name: str) -> None:
    entry = json.loads((FOLDER / f"{name}.json").read_text())
    while alive(entry["pid"]):
        time.sleep(0.05)
    start(name, entry["script"], entry["requeued"] + 1)


def sacct(*words: str) -> None:
    print("JobID|State|NodeList")
    for path in sorted(FOLDER.glob("*.json")):
        entry = json.loads(path.read_text())
        state = "FAILED"
        if entry.get("pending"):
            state = "PENDING"
        elif alive(entry["pid"]):
            state = "RUNNING"
        print(f"{path.stem}|{state}|here")


def scancel(*words: str) -> None:
    for name in words:
        path = FOLDER / f"{name}.json"
        if path.is_file():
            os.killpg(json.loads(path.read_text())["pid"], signal.SIGKILL)


if __name__ == "__main__":
    called, *words = sys.argv if not sys.argv[0].endswith(".py") else sys.argv[1:]
    commands = (sbatch, srun, scontrol, restart, sacct, scancel)
    by_name = {command.__name__: command for command in commands}
    by_name[Path(called).name](*words)
