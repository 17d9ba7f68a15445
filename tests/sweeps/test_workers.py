import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from normlab.endings import Stopped
from normlab.sweeps.workers import Died, Workers

LIGHT = ("normlab.sweeps.workers",)  # what a worker needs to import here


def task(item):
    """What the workers of these tests do: call a function below, by its name."""
    name, *arguments = item
    return globals()[name](*arguments)


def process(value=None):
    return os.getpid()


def variable(name):
    return os.environ[name]


def frozen():
    return gc.get_freeze_count()


def touch(path):
    Path(path).touch()
    return "touched"


def wait_for(path):
    deadline = time.monotonic() + 300
    while not Path(path).exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)
    return "waited"


def kill_itself(number):
    os.kill(os.getpid(), number)


def leave(code):
    sys.exit(code)


def save_on_sigterm(folder):
    """Do as a run in training does: on SIGTERM write the state and end."""

    def save(number, frame):
        Path(folder, "saved").touch()
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, save)
    Path(folder, "pid").write_text(str(os.getpid()))
    Path(folder, "server").write_text(str(os.getppid()))
    Path(folder, "started").touch()
    time.sleep(300)


def ignore_sigterm(folder):
    signal.signal(signal.SIGTERM, lambda number, frame: Path(folder, "asked").touch())
    Path(folder, "pid").write_text(str(os.getpid()))
    Path(folder, "started").touch()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        time.sleep(1)


def save_late_on_sigterm(folder):
    """On SIGTERM take until the file `again` exists to write the state."""

    def save(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(folder, "asked").touch()
        wait_for(Path(folder, "again"))
        Path(folder, "saved").touch()
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, save)
    Path(folder, "started").touch()
    time.sleep(300)


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def run_all(items, workers=1, **options):
    with Workers(task, [{}] * workers, preload=LIGHT, **options) as pool:
        return list(pool.run(items))


def test_the_collector_leaves_alone_what_workers_share():
    ((_, count),) = run_all([("frozen",)])
    assert count > 1000


def test_one_worker_takes_all_jobs_in_order():
    ended = run_all([("process",), ("process",), ("process",)])
    assert [index for index, _ in ended] == [0, 1, 2]
    assert len({pid for _, pid in ended} - {os.getpid()}) == 1


def test_values_come_in_the_order_in_which_jobs_end(tmp_path):
    flag = tmp_path / "flag"
    items = [("wait_for", flag), ("process",), ("touch", flag)]
    ended = run_all(items, workers=2)
    assert sorted(index for index, _ in ended) == [0, 1, 2]
    assert ended[0][0] == 1
    assert dict(ended)[0] == "waited"


def test_a_worker_has_its_environment():
    environments = [{"OMP_NUM_THREADS": "3", "SLOT": "a"}]
    with Workers(task, environments, preload=LIGHT) as pool:
        assert list(
            pool.run([("variable", "OMP_NUM_THREADS"), ("variable", "SLOT")])
        ) == [(0, "3"), (1, "a")]
    assert "SLOT" not in os.environ


def test_without_preload_every_worker_is_a_new_python():
    with Workers(task, [{"SLOT": "b"}]) as pool:
        assert list(pool.run([("variable", "SLOT")])) == [(0, "b")]


@pytest.mark.parametrize(
    ("item", "exit_code", "reason"),
    [
        (
            ("kill_itself", signal.SIGKILL),
            -9,
            "was ended by SIGKILL (the system does this when memory runs out)",
        ),
        (("leave", 143), 143, "was ended by SIGTERM"),
        (("leave", 3), 3, "ended with exit code 3"),
    ],
)
def test_a_dying_worker_loses_only_its_job(item, exit_code, reason):
    ended = dict(run_all([("process",), item, ("process",)]))
    assert ended[1] == Died(exit_code)
    assert ended[1].reason == f"its worker process {reason}"
    assert ended[0] != ended[2]
    assert not is_alive(ended[0])


def test_a_worker_that_died_without_a_job_is_replaced():
    with Workers(task, [{}], preload=LIGHT) as pool:
        values = pool.run([("process",), ("process",)])
        _, first = next(values)
        os.kill(first, signal.SIGKILL)
        # A process whose main thread has ended may still hold its pipe.
        pool.workers[0].process.join()
        _, second = next(values)
    assert isinstance(second, int)
    assert second != first


def test_a_worker_is_replaced_after_its_number_of_jobs():
    pids = [pid for _, pid in run_all([("process",)] * 4, jobs_per_worker=2)]
    assert pids[0] == pids[1]
    assert pids[2] == pids[3]
    assert pids[1] != pids[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_workers_save_their_state_and_end(tmp_path, number):
    before = signal.getsignal(number)
    threading.Thread(target=signal_when, args=(tmp_path / "started", number)).start()
    with pytest.raises(Stopped) as stopped, Workers(task, [{}], preload=LIGHT) as pool:
        list(pool.run([("save_on_sigterm", tmp_path)]))
    assert stopped.value.exit_code == 128 + number
    assert stopped.value.reason == f"stopped by {signal.Signals(number).name}"
    assert (tmp_path / "saved").exists()
    assert not is_alive((tmp_path / "pid").read_text())
    assert signal.getsignal(number) is before


def signal_when(*paths_and_number):
    *paths, number = paths_and_number
    for path in paths:
        wait_for(path)
        os.kill(os.getpid(), number)


def test_a_second_signal_does_not_wait(tmp_path):
    paths = (tmp_path / "started", tmp_path / "asked")
    threading.Thread(target=signal_when, args=(*paths, signal.SIGTERM)).start()
    with pytest.raises(Stopped), Workers(task, [{}], preload=LIGHT) as pool:
        list(pool.run([("ignore_sigterm", tmp_path)]))
    assert not is_alive((tmp_path / "pid").read_text())


def test_workers_save_their_state_although_slurm_repeats_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")

    def signal_twice():
        signal_when(tmp_path / "started", tmp_path / "asked", signal.SIGTERM)
        time.sleep(0.2)  # in which workers would be killed
        (tmp_path / "again").touch()

    threading.Thread(target=signal_twice).start()
    with pytest.raises(Stopped), Workers(task, [{}], preload=LIGHT) as pool:
        list(pool.run([("save_late_on_sigterm", tmp_path)]))
    assert (tmp_path / "saved").exists()


DEADLY = """
import os, pathlib, signal
again = pathlib.Path(__file__).with_name("deaths")
deaths = int(again.read_text()) if again.exists() else 0
again.write_text(str(deaths + 1))
if deaths < {deaths}:
    os.kill(os.getpid(), signal.SIGKILL)
"""
OF_DEADLY = """
from test_workers import task
from normlab.sweeps.workers import Workers

if __name__ == "__main__":
    with Workers(task, [{}], preload=["deadly"]) as pool:
        print([index for index, value in pool.run([("process",)])])
"""


@pytest.mark.parametrize(
    ("deaths", "last_line"),
    [
        (1, "[0]"),
        (99, "workers was killed (the system does this when memory runs out)"),
    ],
)
def test_a_killed_server_of_workers_is_started_again(tmp_path, deaths, last_line):
    (tmp_path / "deadly.py").write_text(DEADLY.format(deaths=deaths))
    (tmp_path / "script.py").write_text(OF_DEADLY)
    folders = f"{Path(__file__).parent}:{tmp_path}"
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env=os.environ | {"PYTHONPATH": folders},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout + done.stderr).splitlines()[-1].endswith(last_line)


LAUNCHER = """
import sys
from test_workers import LIGHT, task
from normlab.sweeps.workers import Workers

def values(folder):
    with Workers(task, [{}], preload=LIGHT) as pool:
        yield from pool.run([("process",), ("save_on_sigterm", folder)])

if __name__ == "__main__":
    generator = values(sys.argv[1])
    next(generator)
    if sys.argv[2] == "killed":
        next(generator)
    raise RuntimeError("while the workers work")
"""


@pytest.fixture
def launcher(tmp_path):
    """A process that has a worker with a job and then is killed or raises an error."""
    script = tmp_path / "launcher.py"
    script.write_text(LAUNCHER)

    def start(how):
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        words = [sys.executable, str(script), str(tmp_path), how]
        return subprocess.Popen(
            words, env=environment, stderr=subprocess.PIPE, text=True
        )

    return start


def test_workers_stop_when_their_launcher_is_killed(tmp_path, launcher):
    with launcher("killed") as process:
        wait_for(tmp_path / "started")
        process.kill()
    wait_for(tmp_path / "saved")
    for name in ("pid", "server"):
        deadline = time.monotonic() + 300
        while is_alive((tmp_path / name).read_text()):
            assert time.monotonic() < deadline, name
            time.sleep(0.01)


def test_an_exception_in_the_launcher_leaves_no_process_behind(launcher):
    _, errors = launcher("raises").communicate(timeout=300)
    assert errors.rstrip().endswith("RuntimeError: while the workers work")
