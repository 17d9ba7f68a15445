"""Damage to the files of a killed run, hostile files in their place, full disks."""

import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from kill_points import KillPoints
from runs import Run, at, differences, finish

from normlab.config.identity import run_folder

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder `tests`
from security.hostile import Hostile


def newest(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def append_half_a_row(folder: Path) -> None:
    for path in (
        folder / "metrics.csv",
        folder / "statistics.csv",
        *folder.glob("events.out.*"),
    ):
        with open(path, "ab") as file:
            file.write(b"9,99,0.12")


def save_hostile(path: Path, marker: Path) -> None:
    torch.save({"network": Hostile(marker)}, path)


# Each takes the run folder, and a file that hostile code would write.
DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "last checkpoint truncated": lambda folder, marker: truncate(newest(folder)),
    "one bit of it": lambda folder, marker: flip_a_bit(newest(folder)),
    "empty": lambda folder, marker: newest(folder).write_bytes(b""),
    "deleted": lambda folder, marker: newest(folder).unlink(),
    "both deleted": lambda folder, marker: shutil.rmtree(folder / "checkpoints"),
    "both truncated": lambda folder, marker: [
        truncate(path) for path in (folder / "checkpoints").iterdir()
    ],
    "weights of nothing": lambda folder, marker: torch.save(
        {"network": {}}, newest(folder)
    ),
    "a hostile pickle": lambda folder, marker: newest(folder).write_bytes(
        pickle.dumps(Hostile(marker))
    ),
    "a hostile checkpoint": lambda folder, marker: save_hostile(newest(folder), marker),
    "both hostile": lambda folder, marker: [
        save_hostile(path, marker) for path in (folder / "checkpoints").iterdir()
    ],
    "half a row in every log": lambda folder, marker: append_half_a_row(folder),
    "result truncated": lambda folder, marker: (folder / "result.json").write_text(
        '{"status": "fini'
    ),
    "half a temporary file": lambda folder, marker: (
        folder / "checkpoints" / ".last.ckpt.1.tmp"
    ).write_bytes(b"PK"),
}


def killed_in_the_middle(config: dict, scratch: Path, changes: Sequence[str]) -> Path:
    """The folder of a run that was killed after it had written two checkpoints.

    The second one was written after its first epoch.

    Args:
        config: of the run.
        scratch: a folder.
        changes: of `kills.changes_of`.
    """
    folder = run_folder(config)
    written = [
        number + 1
        for number, name in enumerate(changes, 1)
        if name == "rename last.ckpt"
    ]
    ended = Run(config, scratch / "status", KillPoints(folder, written[1])).ended()
    assert ended == f"exit code {-signal.SIGKILL}", ended
    return folder


def damaged(
    config: dict,
    scratch: Path,
    expected: dict,
    changes: Sequence[str],
    names: Sequence[str] = tuple(DAMAGES),
) -> dict:
    """Damage a killed run in every way, and let it go on."""
    wrong, marker = [], scratch / "hostile code was run"
    for name in names:
        disturbed = at(config, scratch / "damaged")
        DAMAGES[name](killed_in_the_middle(disturbed, scratch, changes), marker)
        wrong += finish(disturbed, scratch, expected, name)
    return {
        "damages": len(names),
        "wrong": wrong + ([marker.name] if marker.exists() else []),
    }


def full_disk(
    config: dict, scratch: Path, expected: dict, sizes: Sequence[int]
) -> dict | None:
    """Let disks of these sizes, in kilobytes, run full; make room and resume the run.

    None if no disk may be mounted here.
    """
    mount, wrong, full = scratch / "disk", [], 0
    mount.mkdir()
    for size in sizes:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(mount)]
        if (
            shutil.which("mount") is None
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            return None
        try:
            disturbed = at(config, mount / "outputs")
            first = Run(disturbed, scratch / "status").ended()
            full += first.startswith("DiskFull: no space is left on the disk of")
            wrong += (
                []
                if first == "finished" or first.startswith("DiskFull: ")
                else [f"{size} kB: {first}"]
            )
            subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
            second = Run(disturbed, scratch / "status").ended()
            found = (
                differences(run_folder(disturbed), expected)
                if second == "finished"
                else [second]
            )
            wrong += [f"{size} kB, with room again: {name}" for name in found]
        finally:
            subprocess.run(["umount", str(mount)], check=True)
    return {"disks": len(sizes), "of them full": full, "wrong": wrong}
