"""A sweep on SLURM: what is submitted, attached to, waited for and explained."""

import json
import os
import re
import signal

import pytest
from fake_slurm import FakeSlurm
from omegaconf import OmegaConf

from normlab.config.identity import digest, run_folder, run_name
from normlab.endings import Left, Stopped
from normlab.results import write_result
from normlab.sweeps import slurm, slurm_sweep, slurm_task
from normlab.sweeps.slurm import SlurmRefusal
from normlab.sweeps.slurm_ledger import Ledger, write_submission
from normlab.sweeps.slurm_options import read_options
from normlab.sweeps.slurm_sweep import SlurmSweep


@pytest.fixture
def cluster(monkeypatch):
    """A SLURM that is asked without a pause."""
    fake = FakeSlurm()
    monkeypatch.setattr(slurm, "call", fake)
    monkeypatch.setattr(slurm_sweep, "MOST_SECONDS", 0.0)
    return fake


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """The seeds that were trained, by a function that stores nothing."""
    seeds = []

    def train(config):
        seeds.append(config["seed"])
        return {"status": "finished", "metrics": {"x": config["seed"]}}

    monkeypatch.setattr(slurm_task, "_train", train)
    return seeds


@pytest.fixture(scope="module")
def base(compose):
    return OmegaConf.to_container(compose("device=cpu"), resolve=True)


@pytest.fixture
def configs(base, tmp_path):
    """configs(count): configurations that differ in the seed."""

    def make(count, **changes):
        paths = {"outputs": str(tmp_path / "outputs")}
        return [
            base | changes | {"seed": seed, "paths": paths} for seed in range(count)
        ]

    return make


@pytest.fixture
def begin(tmp_path):
    """begin(configs, **options): a sweep."""

    def make(configs, **options):
        folder = tmp_path / "outputs" / ".slurm"
        return SlurmSweep(configs, read_options(folder, options))

    return make


def by_name(configs):
    return {run_name(config): config for config in configs}


def seeds(results):
    """The trained seed of every result, by index."""
    return {index: result["metrics"]["x"] for index, result in results}


def test_every_run_has_a_task_of_one_array(cluster, configs, begin, trained, capsys):
    cluster.rounds = [cluster.run_all]
    assert seeds(begin(configs(3)).results()) == {0: 0, 1: 1, 2: 2}
    assert cluster.count("sbatch") == 1
    assert sorted(cluster.jobs) == ["100_0", "100_1", "100_2"]
    assert capsys.readouterr().err == "submitted 3 runs to SLURM: job 100\n"


def test_arrays_are_cut_to_the_size_that_slurm_takes(cluster, configs, begin, trained):
    cluster.most_tasks = 2
    cluster.rounds = [cluster.run_all]
    assert len(seeds(begin(configs(5)).results())) == 5
    assert cluster.count("sbatch") == 3
    assert sorted(cluster.jobs) == ["100_0", "100_1", "102_0", "102_1", "104"]
    assert sorted(trained) == [0, 1, 2, 3, 4]


def test_workers_share_the_runs_of_one_array(cluster, configs, begin, trained):
    cluster.most_tasks = 3
    cluster.rounds = [lambda: cluster.run("100_1"), cluster.run_all]
    assert len(seeds(begin(configs(7), workers=2).results())) == 7
    assert sorted(cluster.jobs) == ["100_0", "100_1"]
    assert trained == [3, 4, 5, 6, 0, 1, 2]


def test_the_same_command_attaches_to_jobs_that_wait(
    cluster, configs, begin, trained, capsys
):
    with pytest.raises(Left) as left:
        list(begin(configs(2), wait=False).results())
    assert re.fullmatch(
        r"2 runs are with SLURM; `normlab jobs \S+/outputs` shows the jobs, "
        r"`scancel 100` cancels them",
        str(left.value),
    )
    assert left.value.exit_code == 0
    cluster.rounds = [lambda: None, cluster.run_all]
    assert seeds(begin(configs(3)).results()) == {0: 0, 1: 1, 2: 2}
    assert sorted(cluster.jobs) == ["100_0", "100_1", "102"]
    assert "attached to the jobs of 2 runs that SLURM has\n" in capsys.readouterr().err


def test_jobs_that_have_ended_are_submitted_again(cluster, configs, begin):
    with pytest.raises(Left):
        list(begin(configs(2), wait=False).results())
    cluster.end("100_1", "NODE_FAIL")
    cluster.rounds = [lambda: None, cluster.run_all]
    assert len(seeds(begin(configs(2)).results())) == 2
    assert sorted(cluster.jobs) == ["100_0", "100_1", "102"]


def test_a_run_that_a_living_pool_could_not_do_is_submitted_again(
    cluster, configs, begin, monkeypatch
):
    failed = {"status": "failed", "reason": "no", "metrics": {}}
    with pytest.raises(Left):
        list(begin(configs(2), wait=False, workers=1).results())
    with monkeypatch.context() as patch:
        patch.setattr(slurm_task, "_train", lambda config: failed)
        cluster.run("100", state="RUNNING")
    with pytest.raises(Left):
        list(begin(configs(2), wait=False).results())
    assert sorted(cluster.jobs) == ["100", "101_0", "101_1"]


def test_two_equal_runs_are_one_job(cluster, configs, begin):
    cluster.rounds = [cluster.run_all]
    assert seeds(begin(configs(1) * 2).results()) == {0: 0, 1: 0}
    assert sorted(cluster.jobs) == ["100"]


@pytest.mark.parametrize("registered", [0, 2])
def test_jobs_of_a_killed_command_are_found(
    cluster, configs, begin, tmp_path, registered
):
    """The command was killed between sbatch and the last line of the ledger."""
    folder = tmp_path / "outputs" / ".slurm"
    options = {"timeout_min": 60, "signal_delay_s": 120, "max_num_timeout": 3}
    submission = write_submission(
        folder, by_name(configs(3)), "fake", "n", (), workers=0, **options
    )
    name = f"--job-name={submission.job_name}"
    script = str(folder / submission.key / "script.sh")
    cluster.sbatch("--parsable", name, "--array=0-2%9", script)
    entries = submission.entries("100")[:registered]
    Ledger(folder).lines.append(vars(entry) for entry in entries)
    cluster.rounds = [lambda: None, lambda: None, cluster.run_all]
    assert len(seeds(begin(configs(3)).results())) == 3
    assert sorted(cluster.jobs) == ["100_0", "100_1", "100_2"]
    assert cluster.count("sbatch") == 0  # of this command


def test_a_submission_that_slurm_never_got_is_forgotten(
    cluster, configs, begin, tmp_path
):
    folder = tmp_path / "outputs" / ".slurm"
    options = {"timeout_min": 60, "signal_delay_s": 120, "max_num_timeout": 3}
    one = by_name(configs(1))
    lost = write_submission(folder, one, "fake", "n", (), workers=0, **options)
    foreign = write_submission(folder, one, "far", "n", (), workers=0, **options)
    cluster.rounds = [lambda: None, cluster.run_all]
    assert seeds(begin(configs(1)).results()) == {0: 0}
    assert not (folder / lost.key).exists()
    assert (folder / foreign.key).exists()  # only its own cluster could tell


def test_a_submission_of_a_stranger_deletes_no_other_folder(
    cluster, configs, begin, tmp_path
):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("1")
    folder = tmp_path / "outputs" / ".slurm"
    options = {"timeout_min": 60, "signal_delay_s": 120, "max_num_timeout": 3}
    one = by_name(configs(1))
    lost = write_submission(folder, one, "fake", "n", (), workers=0, **options)
    path = folder / lost.key / "submission.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"key": str(precious)}))
    with pytest.raises(ValueError, match=r"submission\.json is no submission: its key"):
        list(begin(configs(1), wait=False).results())
    assert (precious / "thesis").read_text() == "1"
    assert cluster.count("sbatch") == 0


def test_a_refusal_submits_nothing_and_says_why(cluster, configs, begin, tmp_path):
    cluster.refusal = "Invalid partition name specified"
    with pytest.raises(ValueError) as error:
        list(begin(configs(2)).results())
    assert str(error.value) == (
        "SLURM did not take the jobs: Invalid partition name specified"
    )
    assert not list((tmp_path / "outputs" / ".slurm").glob("*/script.sh"))


def test_a_limit_of_jobs_names_what_was_submitted(cluster, configs, begin):
    cluster.most_tasks = 2
    sbatch = cluster.sbatch

    def take_one(*words):
        answer = sbatch(*words)
        cluster.refusal = "Job violates accounting/QOS policy (job submit limit)"
        return answer

    cluster.sbatch = take_one
    with pytest.raises(ValueError) as error:
        list(begin(configs(5)).results())
    first, second = str(error.value).splitlines()
    assert first == (
        "SLURM did not take the jobs of 3 runs: "
        "Job violates accounting/QOS policy (job submit limit)"
    )
    assert second.startswith("2 runs are with SLURM; ")
    assert second.endswith("; the same command submits the rest")


def test_a_job_whose_answer_was_lost_is_not_submitted_twice(cluster, configs, begin):
    cluster.loses_answers = True
    cluster.rounds = [lambda: None, cluster.run_all]
    assert len(seeds(begin(configs(2)).results())) == 2
    assert sorted(cluster.jobs) == ["100_0", "100_1"]


@pytest.mark.parametrize("has_accounting", [False, True])
@pytest.mark.parametrize("state", ["CANCELLED", "OUT_OF_MEMORY", "NODE_FAIL"])
def test_a_job_that_ends_without_a_result_is_named(
    cluster, configs, begin, has_accounting, state
):
    cluster.has_accounting = has_accounting

    def end():
        cluster.run("100_0")
        cluster.end("100_1", state)
        cluster.jobs["100_1"].is_forgotten = has_accounting

    cluster.rounds = [end]
    results = dict(begin(configs(2)).results())
    assert results[0]["status"] == "finished"
    assert results[1]["status"] == "failed"
    assert results[1]["reason"].startswith(f"job 100_1 {state}: ")


def test_a_job_whose_folder_is_gone_is_explained(cluster, configs, begin):
    def forget():
        (cluster.jobs["100"].folder / "submission.json").unlink()
        cluster.jobs["100"].is_forgotten = True

    cluster.rounds = [forget]
    ((_, result),) = begin(configs(1)).results()
    assert result["reason"].startswith("job 100 UNKNOWN: SLURM does not know it")


@pytest.mark.parametrize("ending", ["err", "out"])
def test_a_forgotten_job_ends_the_wait_and_shows_its_log(
    cluster, configs, begin, tmp_path, ending
):
    def forget():
        log = cluster.jobs["100"].folder / f"100.{ending}"
        log.write_text("Killed\n")
        cluster.jobs["100"].is_forgotten = True

    cluster.rounds = [forget]
    ((_, result),) = begin(configs(1)).results()
    assert result["reason"].startswith("job 100 UNKNOWN: SLURM does not know it")
    assert re.search(rf"; see \S+/100\.{ending}$", result["reason"])


@pytest.mark.parametrize(
    ("changes", "counts"),
    [({}, True), ({"rerun": True}, False), ({"retry": "failed"}, False)],
)
def test_a_result_that_no_job_has_noted_counts_if_it_is_new(
    cluster, configs, begin, changes, counts
):
    """The job was killed between its result and its note."""
    (config,) = configs(1, **changes)

    def train():
        status = "failed" if "retry" in changes else "finished"
        folder = run_folder(config)
        folder.mkdir(parents=True)
        result = {"status": status, "metrics": {"x": 7}, "reason": "old"}
        write_result(folder, result | {"config_digest": digest(config)})
        cluster.end("100", "NODE_FAIL")

    cluster.rounds = [train]
    ((_, result),) = begin([config]).results()
    assert (result.get("metrics") == {"x": 7}) == counts
    assert result["reason"].startswith("job 100 NODE_FAIL: ") != counts


def test_a_job_that_is_queued_again_is_waited_for(cluster, configs, begin, capsys):
    def preempt():
        cluster.end("100", "PREEMPTED")

    def requeue():
        cluster.end("100", "PENDING")
        cluster.jobs["100"].restarts = 1

    cluster.rounds = [preempt, requeue, lambda: None, cluster.run_all]
    assert seeds(begin(configs(1)).results()) == {0: 0}
    assert capsys.readouterr().err.count("job 100 was queued again\n") == 1


def test_a_job_that_is_held_is_told_once(cluster, configs, begin, capsys):
    def hold():
        cluster.jobs["100"].reason = "JobHeldUser"

    cluster.rounds = [hold, lambda: None, cluster.run_all]
    list(begin(configs(1)).results())
    told = "job 100 is held (JobHeldUser), see `scontrol show job 100`\n"
    assert capsys.readouterr().err.count(told) == 1


def test_a_scheduler_that_is_away_is_asked_again(cluster, configs, begin, capsys):
    def fail():
        raise SlurmRefusal("Unable to contact slurm controller")

    cluster.rounds = [fail, fail, cluster.run_all]
    assert seeds(begin(configs(1)).results()) == {0: 0}
    told = "Unable to contact slurm controller; it is asked again\n"
    assert capsys.readouterr().err.count(told) == 1


def test_stored_results_are_read_from_the_run_folder(
    cluster, configs, begin, monkeypatch
):
    stored = {"status": "finished", "run": "r", "metrics": {"x": 5.0}}
    monkeypatch.setattr(slurm_task, "_train", lambda config: stored)
    asked = []

    def stored_result(folder, config):
        asked.append((folder, config["rerun"], config["retry"]))
        return stored

    monkeypatch.setattr(slurm_sweep, "stored_result", stored_result)
    cluster.rounds = [lambda: None, lambda: None, cluster.run_all]
    (config,) = configs(1, retry="failed")
    assert seeds(begin([config]).results()) == {0: 5.0}
    # Once, however often SLURM was asked.
    assert asked == [(run_folder(config), False, None)]


def test_a_full_disk_stops_the_sweep(cluster, configs, begin, monkeypatch):
    stopped = Stopped("no space is left", 1)
    monkeypatch.setattr(slurm_task, "_train", lambda config: stopped)

    def run():
        with pytest.raises(SystemExit):
            cluster.run("100")

    cluster.rounds = [run]
    ((_, result),) = begin(configs(1)).results()
    assert isinstance(result, Stopped)
    assert (result.reason, result.exit_code) == ("no space is left", 1)


def test_ctrl_c_leaves_the_jobs(cluster, configs, begin):
    cluster.rounds = [lambda: os.kill(os.getpid(), signal.SIGINT)]
    with pytest.raises(Stopped) as stopped:
        list(begin(configs(2)).results())
    assert str(stopped.value).startswith(
        "stopped by SIGINT; 2 runs are with SLURM; `normlab jobs "
    )
    assert str(stopped.value).endswith("`scancel 100` cancels them")
    assert stopped.value.exit_code == 130
    assert [job.state for job in cluster.jobs.values()] == ["PENDING", "PENDING"]


def test_slurm_is_asked_once_for_all_jobs_and_ever_less_often(
    cluster, configs, begin, monkeypatch
):
    monkeypatch.setattr(slurm_sweep, "MOST_SECONDS", 60.0)
    pauses = []
    sweep = begin(configs(4))
    sweep._pause = lambda seconds, noted: pauses.append(round(seconds, 2))
    cluster.rounds = [lambda: None] * 12 + [cluster.run_all]
    assert len(seeds(sweep.results())) == 4
    assert pauses[:5] == [0.0, 2.0, 3.0, 4.5, 6.75]
    assert pauses[-1] == 60.0
    assert cluster.count("squeue") == 13
    assert cluster.count("sacct") == 0


def test_many_jobs_are_asked_for_less_often(cluster, configs, begin, monkeypatch):
    monkeypatch.setattr(slurm_sweep, "MOST_SECONDS", 60.0)
    monkeypatch.setattr(slurm_sweep, "JOBS_PER_SECOND", 0.5)
    pauses = []
    sweep = begin(configs(4))
    sweep._pause = lambda seconds, noted: pauses.append(seconds)
    cluster.rounds = [lambda: None, cluster.run_all]
    list(sweep.results())
    assert pauses == [0.0, 8.0]


def test_the_jobs_that_run_are_counted(cluster, configs, begin):
    sweep = begin(configs(3))
    counted = []

    def start():
        cluster.end("100_0", "RUNNING")
        cluster.end("100_1", "RUNNING")

    def count():
        counted.append(sweep.running)
        cluster.end("100_0", "PENDING")
        cluster.end("100_1", "PENDING")
        cluster.run_all()

    cluster.rounds = [start, count]
    list(sweep.results())
    assert counted == [2]


def test_the_ledger_names_cluster_job_run_and_time(cluster, configs, begin, tmp_path):
    with pytest.raises(Left):
        list(begin(configs(2), wait=False).results())
    path = tmp_path / "outputs" / ".slurm" / "ledger.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["cluster"], line["job"], line["run"]) for line in lines] == [
        ("fake", f"100_{index}", run_name(config))
        for index, config in enumerate(configs(2))
    ]
    assert all(re.match(r"20\d\d-\d\d-\d\dT", line["time"]) for line in lines)
