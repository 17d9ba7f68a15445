"""Processes that a command starts import nothing from the folder where it is typed."""

import subprocess
import sys

SCRIPT = """
from normlab.config.trust import guard_process
from normlab.sweeps.workers import Workers

if __name__ == "__main__":
    guard_process()
    for preload in ([], ["normlab.sweeps.workers"]):
        with Workers(len, [{}], preload=preload) as pool:
            print(list(pool.run([(1, 2)])))
"""


def test_workers_import_nothing_from_the_working_folder(tmp_path):
    marker = tmp_path / "marker"
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    for name in ("multiprocessing", "socket", "torch", "normlab"):
        code = f"open({str(marker)!r}, 'w')\n"
        (stranger / f"{name}.py").write_text(code)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script],
        cwd=stranger,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not marker.exists(), done.stderr
    assert done.stdout == "[(0, 2)]\n" * 2, done.stderr
