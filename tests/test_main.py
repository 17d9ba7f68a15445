"""The command line as a person uses it, in processes of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def command(*words, folder=ROOT, timeout=240):
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words], cwd=folder, capture_output=True, text=True, timeout=timeout
    )


def test_help_lists_the_groups():
    done = command("--help")
    assert done.returncode == 0
    assert "norm: " in done.stdout
    assert "custom" in done.stdout


def test_answers_that_need_no_network_import_no_torch():
    code = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('with torch' if 'torch' in sys.modules else 'without torch'))\n"
        "sys.argv = ['train.py', '--cfg', 'job']\n"
        "runpy.run_path('train.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "without torch"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lrr=1"], "no key 'optimizer.lrr', did you mean 'optimizer.lr'?"),
        (["+optimzer.lr=1"], "no key 'optimzer', did you mean 'optimizer'?"),
        (["model=alexnett"], "model=alexnett does not exist, did you mean 'alexnet'?"),
        (["modle=alexnet"], "no key 'modle', did you mean 'model'?"),
        (["optimizer.lr=-1"], "optimizer.lr must be a number above 0, got -1"),
        (["optimizer.lr=fast"], "optimizer.lr must be a number above 0, got 'fast'"),
        (["dataset.batch_size=-4"], "dataset.batch_size must be a whole number of at least 1, got -4"),
        (["model={"], "error: "),
        (["-m", "norm=none,torhc"], "norm=torhc does not exist, did you mean 'torch'?"),
        (["-m", "optimizer.lrr=1,2"], "no key 'optimizer.lrr', did you mean 'optimizer.lr'?"),
    ],
)
def test_a_mistake_gets_a_line_and_exit_code_2(tmp_path, words, message):
    done = command(*words, f"paths.outputs={tmp_path / 'outputs'}", folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_goes_on_after_a_failed_job_and_names_it(tmp_path):
    words = ["-m", "dataset.batch_size=64,1", "seed=0,1", "trainer.max_epochs=1", f"paths.outputs={tmp_path}"]
    done = command(*words)
    assert done.returncode == 1
    assert done.stdout.count("finished") == 2
    assert done.stdout.count("failed  dataset.batch_size=1") == 2
    assert "more than one value per channel" in done.stdout
    assert len(list(tmp_path.glob("*/*/result.json"))) == 2
    again = command(*words)
    assert again.stdout == done.stdout


def test_two_processes_train_as_one(tmp_path):
    results = []
    for name, device in (("one", ["device=cpu"]), ("two", ["device=ddp", "norm.sync=true"])):
        words = [*device, "trainer.max_epochs=2", f"paths.outputs={tmp_path / name}"]
        done = command(*words)
        assert done.returncode == 0, done.stderr
        (path,) = (tmp_path / name).glob("*/*/result.json")
        results.append(json.loads(path.read_text())["metrics"])
    assert results[1] == pytest.approx(results[0], rel=1e-4)
