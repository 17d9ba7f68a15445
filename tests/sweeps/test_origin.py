"""Jobs in processes that inherit nothing find what the sweep finds."""

import json
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import pytest

from normlab.config.own_code import VARIABLE, find_own_code
from normlab.config.trust import OWN_NORMS_VARIABLE
from normlab.norms import own
from normlab.norms.loading import load_norm
from normlab.sweeps import ray_tasks
from normlab.sweeps.origin import Origin

SCALE = """
from torch import nn

class Scale(nn.Module):
    def __init__(self, num_features, factor=2.0):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor
"""
JOB = """
import os, pickle, sys
from normlab.config.own_code import find_own_code
from normlab.norms.own import own_norm

origin, norms = pickle.load(sys.stdin.buffer)
origin.enter()
find_own_code(["mylab"])
import mylab

print(mylab.VALUE, os.getcwd())
for name, source in norms:
    print(own_norm(4, 1, norm=name, source=source).factor)
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A working folder, a package beside a folder of configurations, and norms."""
    monkeypatch.setattr(own, "_offered", {})
    monkeypatch.setenv(OWN_NORMS_VARIABLE, "")
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for folder in ("work", "lab/conf", "elsewhere", "pickles"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(own, "_folder_of_pickles", lambda: tmp_path / "pickles")
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "lab" / "mylab.py").write_text("VALUE = 'beside'\n")
    (tmp_path / "in_a_file.py").write_text(SCALE)
    (tmp_path / "in_a_notebook.py").write_text(SCALE.replace("2.0", "5.0"))
    find_own_code(["mylab"], [tmp_path / "lab" / "conf"])
    return tmp_path


def offered(folder):
    """A norm that a command names by its file, and a class of the process."""
    return [
        own.offer_file(f"{folder / 'in_a_file.py'}:Scale"),
        own.share(own.offer(load_norm(f"{folder / 'in_a_notebook.py'}:Scale"))),
    ]


def run_elsewhere(content, program, folder):
    """Run a program with an object in another folder, without our environment."""
    inherited = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(content),
        capture_output=True,
        cwd=folder,
        env=inherited,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def test_a_job_elsewhere_finds_packages_and_norms(sweep):
    norms = [(norm.name, norm.digest) for norm in offered(sweep)]
    origin = Origin.of_this_process()
    for path in (sweep / "pickles").iterdir():
        path.unlink()  # the other machine does not have it
    lines = run_elsewhere((origin, norms), JOB, sweep / "elsewhere")
    assert lines == [f"beside {sweep / 'work'}", "2.0", "5.0"]


def test_a_job_forgets_the_folders_of_an_earlier_sweep(sweep, monkeypatch):
    monkeypatch.setenv(VARIABLE, "earlier")
    Origin(str(sweep / "elsewhere"), "", ()).enter()
    assert VARIABLE not in os.environ
    assert os.getcwd() == str(sweep / "elsewhere")


def test_tasks_of_ray_get_the_origin(sweep, monkeypatch):
    norms = offered(sweep)
    calls = []
    fake = SimpleNamespace(
        is_initialized=lambda: True,
        put=lambda value: value,
        remote=lambda **options: (
            lambda task: SimpleNamespace(
                remote=lambda *arguments: calls.append((task, arguments)) or len(calls)
            )
        ),
        wait=lambda references, timeout: (references, []),
        get=lambda reference: {"status": "finished", "number": reference},
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    configs = [{"seed": 0}, {"seed": 1}]
    results = dict(ray_tasks.run_with_ray(configs, {}, {}))
    assert [results[index]["number"] for index in (0, 1)] == [1, 2]
    for (task, (origin, config)), expected in zip(calls, configs, strict=True):
        assert (task, config) == (ray_tasks.train_remotely, expected)
        assert origin == Origin.of_this_process()
        assert origin.folder == str(sweep / "work")
        assert json.loads(origin.config_dirs) == [str(sweep / "lab" / "conf")]
        assert origin.own_norms[0] == f"{sweep / 'in_a_file.py'}:Scale"
        name, digest, _ = pickle.loads(origin.own_norms[1])
        assert (name, digest) == (norms[1].name, norms[1].digest)
