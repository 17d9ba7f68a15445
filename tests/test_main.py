"""The command line of training as a person uses it.

Commands that train nothing run in this process, the others in processes of their own.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from itertools import dropwhile, islice, takewhile
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from normlab.main import main

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 1200  # seconds, with other work on the machine
pytestmark = pytest.mark.timeout(2 * PATIENCE)


def start(*words, folder=ROOT, **environment):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(*words, timeout=PATIENCE, **options):
    with start(*words, **options) as process:
        out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.fixture
def here(monkeypatch, tmp_path, capsys):
    """here(*words): like `command`, but in this process; for what does not train."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        # `main` sets it; `delenv` would restore nothing where it was not set.
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    yield run
    HydraConfig.instance().cfg = None


def test_help_lists_the_groups():
    done = command("--help")
    assert done.returncode == 0
    assert "\n  norm  " in done.stdout
    assert "custom" in done.stdout


def test_a_dry_run_does_not_import_torch():
    code = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('torch' in sys.modules))\n"
        "sys.argv = ['train.py', '-m', 'seed=0,1']\n"
        "sys.argv += ['hydra/launcher=queue', 'dry_run=true']\n"
        "runpy.run_path('train.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lrr=1"], "no key 'optimizer.lrr', did you mean 'optimizer.lr'?"),
        (["+optimzer.lr=1"], "no key 'optimzer', did you mean 'optimizer'?"),
        (["model=alexnett"], "model=alexnett does not exist, did you mean 'alexnet'?"),
        (["modle=alexnet"], "no key 'modle', did you mean 'model'?"),
        (["optimizer.lr=-1"], "optimizer.lr must be a number above 0, got -1"),
        (["optimizer.lr=fast"], "optimizer.lr must be a number above 0, got 'fast'"),
        (
            ["dataset.batch_size=-4"],
            "dataset.batch_size must be a whole number of at least 1, got -4",
        ),
        (["model={"], "error: "),
        (["--lr=0.1"], "--lr=0.1 is no flag of this command"),
        (["norm=[none,custom]"], "norm must be one option, as in norm=NAME"),
        (["-m", "norm=none,torhc"], "norm=torhc does not exist, did you mean 'torch'?"),
        (
            ["-m", "optimizer.lrr=1,2"],
            "no key 'optimizer.lrr', did you mean 'optimizer.lr'?",
        ),
        (["-m", "optimizer.lr=1,-2"], "optimizer.lr must be a number above 0, got -2"),
        (["-m", "optimizer.lr=interval(0,1)"], "search with hydra/sweeper=optuna"),
        (
            ["-m", "hydra/launcher=quue"],
            "hydra/launcher=quue does not exist, did you mean 'queue'?",
        ),
        (
            ["-m", "hydra/launcher=queue", "hydra.launcher.worker=1"],
            "no key 'hydra.launcher.worker', did you mean 'hydra.launcher.workers'?; "
            "`--cfg hydra` prints all keys",
        ),
        (
            ["-m", "hydra/launcher=queue", "hydra.launcher.workers=0"],
            "hydra.launcher.workers must be auto or a whole",
        ),
        (
            ["-m", "norm=none,torch", "seed=1,2,3", "hydra.sweeper.zip=[[norm,seed]]"],
            "norm has 2 values, seed has 3",
        ),
        (
            ["-m", "study=small_batches", "hydra.sweeper.try_seeds=1"],
            "hydra.sweeper.try_seeds must be a whole number of at least 2, got 1",
        ),
        (
            ["-m", "hydra/launcher=queue", "hydra.launcher.jobs_per_gpu=many"],
            "hydra.launcher.jobs_per_gpu must be a whole number of at least 1",
        ),
        (
            ["study=small_batches", "study.try=true"],
            "study.try=true tries the sweep of a study: add -m",
        ),
        (["-m", "study.try=true"], "must come with a study: add study=NAME"),
        (
            ["-m", "norm=none,torch", "hydra.sweeper.exclude=[{nrom: none}]"],
            "did you mean 'norm'?",
        ),
    ],
)
def test_a_mistake_is_explained_with_exit_code_2(tmp_path, here, words, message):
    done = here(*words, f"paths.outputs={tmp_path / 'outputs'}")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_process_of_its_own(tmp_path):
    done = command("optimizer.lr=-1", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: optimizer.lr must be a number above 0, got -1\n"
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_a_process_of_its_own_writes_no_errors(tmp_path):
    done = command("trainer.max_epochs=1", "progress=false", folder=tmp_path)
    assert done.returncode == 0
    assert "accuracy" in done.stdout
    assert done.stderr == ""  # no library complains about how Python ended either


def test_a_file_system_without_locks_is_told_in_one_line(here, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    done = here("device=cpu", "trainer.max_epochs=1")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == (
        "outputs/digits-mlp is on a file system without locks (No locks available); "
        "runs are locked by files, which other processes respect for 60 s after a kill"
    )
    again = here("device=cpu", "trainer.max_epochs=1", "seed=1")
    assert "without locks" not in again.stderr


def test_a_file_system_out_of_order_gets_one_line(here, monkeypatch):
    def read_json(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("normlab.results.read_json", read_json)
    for words in (["dry_run=true"], ["-m", "seed=0,1"], ["-m", "hydra/launcher=queue"]):
        done = here(*words, "device=cpu")
        assert done.returncode == 1
        line = done.stderr.splitlines()[-1]
        assert line.startswith("error: [Errno 5] Input/output error: 'outputs/")
        assert "Traceback" not in done.stderr


def test_a_dry_run_of_one_run_writes_nothing(here, tmp_path):
    done = here("norm=torch", "seed=3", "dry_run=true")
    assert done.returncode == 0
    count, run, estimate = done.stdout.splitlines()
    assert count == "1 run: 1 new"
    assert run.startswith("1  new          outputs/digits-mlp/torch-sgd-lr0.1-seed3-")
    assert estimate == "no estimate for digits-mlp, where no run has finished yet"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("launcher", ["basic", "queue"])
def test_a_dry_run_of_a_sweep_with_zip_and_exclude(here, launcher):
    axes = ["norm=none,torch", "optimizer.lr=0.1,1", "seed=0,1"]
    options = [
        "hydra.sweeper.zip=[[norm,optimizer.lr]]",
        "hydra.sweeper.exclude=[{norm: none, seed: 1}]",
    ]
    done = here("-m", f"hydra/launcher={launcher}", *axes, *options, "dry_run=true")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "3 runs: 3 new; 1 excluded"
    assert [line.split("  ")[1] for line in lines[1:4]] == [
        "norm=none lr=0.1 seed=0",
        "norm=torch lr=1 seed=0",
        "norm=torch lr=1 seed=1",
    ]


def test_the_command_line_replaces_the_axes_of_a_file(here):
    done = here("-m", "study=small_batches", "norm.size=8", "seed=3,4", "dry_run=true")
    assert done.stdout.splitlines()[0] == "2 runs: 2 new"
    assert "size" not in done.stdout.split("outputs")[0]


@pytest.mark.parametrize("word", ["study=small_batches", "+study=small_batches"])
def test_a_study_is_a_sweep_with_or_without_a_plus(here, word):
    done = here("-m", word, "dry_run=true")
    assert done.stdout.splitlines()[0] == "60 runs: 60 new"
    assert done.returncode == 0


NORMS = """
import os, signal
from pathlib import Path

from torch import nn

REPAIRED = Path(__file__).with_name("repaired")


class Norm(nn.Identity):
    def __init__(self, num_features, dim, ends_by):
        super().__init__()
        self.ends_by, self.calls = ends_by, 0

    def forward(self, inputs):
        self.calls += self.training
        if self.calls == 60 and not REPAIRED.exists():
            if self.ends_by == "exception":
                raise RuntimeError("out of order")
            os.kill(os.getpid(), signal.SIGKILL)
        return inputs
"""


@pytest.fixture
def norms(tmp_path):
    """Norms of a user that fail or die in the fourth epoch, until they are repaired."""
    folder = tmp_path / "mine"
    (folder / "norm").mkdir(parents=True)
    (folder / "odd_norms.py").write_text(NORMS)
    for name, ends_by in (("crashes", "exception"), ("dies", "signal")):
        text = f"_target_: odd_norms.Norm\n_partial_: true\nends_by: {ends_by}\n"
        (folder / "norm" / f"{name}.yaml").write_text(text)
    return folder


def table(done):
    """The rows of the end table without the seconds, its last column."""
    lines = iter(done.stdout.splitlines())
    rows = dropwhile(lambda line: "──" not in line, lines)
    return [row.split()[:-1] for row in takewhile(str.strip, islice(rows, 1, None))]


@pytest.mark.slow
def test_a_disturbed_sweep_ends_like_an_undisturbed_one(tmp_path, norms):
    words = [
        "--config-dir",
        str(norms),
        "-m",
        "trusted_packages=[odd_norms]",
        "trainer.max_epochs=5",
    ]
    words += ["norm=torch,none,crashes,dies", "optimizer.lr=0.1,1e9,0.1,0.1"]
    words += ["hydra.sweeper.zip=[[norm,optimizer.lr]]", "checkpoint.every_seconds=0"]
    disturbed = [
        *words,
        "hydra/launcher=queue",
        f"paths.outputs={tmp_path / 'disturbed'}",
    ]
    first = command(*disturbed)
    assert first.returncode == 1
    assert [row[:3] for row in table(first)] == [
        ["torch", "0.1", "finished"],
        ["none", "1000000000.0", "diverged"],
        ["crashes", "0.1", "failed"],
        ["dies", "0.1", "failed"],
    ]
    assert (
        "norm=dies lr=0.1  failed  its worker process was ended by SIGKILL"
        in first.stderr
    )  # when it happens
    crashed, died = first.stdout.splitlines()[-2:]
    assert crashed.startswith(
        "failed  norm=crashes optimizer.lr=0.1: RuntimeError: out of order; see "
    )
    assert "out of order" in Path(crashed.rpartition("see ")[2]).read_text()
    assert died.startswith(
        "failed  norm=dies optimizer.lr=0.1: its worker process was ended by SIGKILL"
    )
    (norms / "repaired").touch()
    second = command(*disturbed, "retry=failed")
    assert second.returncode == 0, second.stderr
    undisturbed = command(*words, f"paths.outputs={tmp_path / 'undisturbed'}")
    assert table(second) == table(undisturbed)
    assert [row[2] for row in table(second)] == [
        "finished",
        "diverged",
        "finished",
        "finished",
    ]
    for path in (tmp_path / "undisturbed").glob("*/*/checkpoints/best.ckpt"):
        same = tmp_path / "disturbed" / path.relative_to(tmp_path / "undisturbed")
        assert same.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_stopped_sweep_is_resumed_by_the_same_command(tmp_path):
    words = ["-m", "hydra/launcher=queue", "hydra.launcher.workers=2", "seed=0,1"]
    words += ["trainer.max_epochs=100", f"paths.outputs={tmp_path}"]
    process = start(*words)
    deadline = time.monotonic() + PATIENCE
    while len(list(tmp_path.glob("*/*/metrics.csv"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert errors == "stopped by SIGTERM; run the same command again to resume\n"
    assert len(list(tmp_path.glob("*/*/checkpoints/last.ckpt"))) == 2
    assert list(tmp_path.glob("*/*/result.json")) == []
    together = [start(*words), start(*words)]  # two at once share the folders
    outputs = [each.communicate(timeout=PATIENCE)[0] for each in together]
    assert [each.returncode for each in together] == [0, 0]
    assert outputs[0] == outputs[1]
    assert outputs[0].count("finished") == 3  # in the title and in both rows
    for path in tmp_path.glob("*/*/metrics.csv"):
        assert [row.split(",")[0] for row in path.read_text().splitlines()[1:]] == [
            str(n) for n in range(1, 101)
        ]


@pytest.mark.slow
def test_a_sweep_continues_after_a_failed_job_and_names_it(tmp_path):
    words = [
        "-m",
        "dataset.batch_size=64,1",
        "seed=0,1",
        "trainer.max_epochs=1",
        f"paths.outputs={tmp_path}",
    ]
    done = command(*words)
    assert done.returncode == 1
    assert done.stdout.startswith("\n4 runs: 2 finished, 2 failed")
    assert done.stdout.count("failed  dataset.batch_size=1 seed=") == 2
    assert "more than one value per channel" in done.stdout
    assert len(list(tmp_path.glob("*/*/result.json"))) == 2
    again = command(*words)
    assert again.stdout == done.stdout


@pytest.mark.parametrize("launcher", ["basic", "queue"])
def test_jobs_of_a_sweep_explain_mistakes_as_a_single_run_does(
    here, tmp_path, launcher
):
    (tmp_path / "text.csv").write_text("a,b,y\n" + "1,2,3\n" * 40 + "1,x,3\n")
    words = [
        "dataset=csv",
        "model=tabular",
        "dataset.root=text.csv",
        "dataset.target=y",
    ]
    single = here(*words)
    said = single.stderr.removeprefix("error: ").strip()
    assert said.startswith(
        "normlab.data.tabular.csv: text.csv: column b must hold numbers"
    )
    done = here("-m", f"hydra/launcher={launcher}", *words, "dataset.fold=range(2)")
    assert (single.returncode, done.returncode) == (2, 1)
    ended = sorted(
        line.split("  ", 1)[1] for line in done.stderr.splitlines()
    )  # side by side, in any order
    assert ended == [f"fold={fold}  failed  {said}" for fold in (0, 1)]
    assert done.stdout.splitlines()[-2:] == [
        f"failed  dataset.fold={fold}: {said}" for fold in (0, 1)
    ]
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path):
    results = []
    for name, device in (
        ("one", ["device=cpu"]),
        ("two", ["device=ddp", "norm.sync=true"]),
    ):
        words = [*device, "trainer.max_epochs=2", f"paths.outputs={tmp_path / name}"]
        done = command(*words)
        assert done.returncode == 0, done.stderr
        (path,) = (tmp_path / name).glob("*/*/result.json")
        results.append(json.loads(path.read_text())["metrics"])
    assert results[1] == pytest.approx(results[0], rel=1e-4)
