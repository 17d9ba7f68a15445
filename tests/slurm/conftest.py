"""A SLURM for the tests of this folder, brought up if none of ours answers."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "scheduler.sh"
OURS = "normlab"  # the name of the cluster that SCRIPT brings up
SECONDS_TO_INSTALL = 600


def cluster_name() -> str:
    """The name of the cluster that answers here; empty if none does."""
    if shutil.which("scontrol") is None:
        return ""
    done = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True, timeout=60
    )
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "ClusterName":
            return value.strip()
    return ""


@pytest.fixture(scope="session", autouse=True)
def scheduler():
    """Bring a SLURM up, and take it down; the tests cancel jobs of ours alone."""
    name = cluster_name()
    if name:
        assert name == OURS, f"these tests may not use the cluster {name!r}"
        yield
        return
    subprocess.run([SCRIPT, "start"], check=True, timeout=SECONDS_TO_INSTALL)
    yield
    subprocess.run([SCRIPT, "stop"], check=True, timeout=60)
