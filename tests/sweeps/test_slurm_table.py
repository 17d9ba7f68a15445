"""The table of the runs that were submitted to SLURM."""

import pytest
from fake_slurm import FakeSlurm
from omegaconf import OmegaConf

from normlab.config.identity import run_name
from normlab.endings import Left
from normlab.sweeps import slurm, slurm_task
from normlab.sweeps.slurm_ledger import Ledger
from normlab.sweeps.slurm_options import read_options
from normlab.sweeps.slurm_sweep import SlurmSweep
from normlab.sweeps.slurm_table import jobs_main, print_table, rows


@pytest.fixture
def cluster(monkeypatch):
    fake = FakeSlurm()
    monkeypatch.setattr(slurm, "call", fake)
    return fake


@pytest.fixture(scope="module")
def base(compose):
    return OmegaConf.to_container(compose("device=cpu"), resolve=True)


@pytest.fixture
def configs(base, tmp_path):
    paths = {"outputs": str(tmp_path / "outputs")}
    return [base | {"seed": seed, "paths": paths} for seed in range(4)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "outputs" / ".slurm"


@pytest.fixture
def submit(cluster, folder):
    """submit(configs, **options): submit runs and leave."""

    def leave(configs, **options):
        with pytest.raises(Left):
            list(
                SlurmSweep(
                    configs, read_options(folder, options | {"wait": False})
                ).results()
            )

    return leave


def states(found):
    return [(row.job, row.state, row.since, row.reason) for row in found]


def test_every_run_has_the_state_of_its_job(
    submit, cluster, configs, folder, monkeypatch
):
    submit(configs)
    cluster.jobs["100_0"].reason = "Resources"
    cluster.end("100_1", "RUNNING")
    cluster.end("100_2", "TIMEOUT")
    failed = {"status": "failed", "reason": "no memory", "metrics": {}}
    monkeypatch.setattr(slurm_task, "_train", lambda config: failed)
    cluster.run("100_3")
    found = rows(folder)
    assert [row.run for row in found] == [run_name(config) for config in configs]
    since = found[3].since
    assert states(found) == [
        ("100_0", "pending", "2026-01-02T03:04:05", "Resources"),
        ("100_1", "running", "2026-01-02T03:04:06", ""),
        ("100_2", "TIMEOUT", "", ""),
        ("100_3", "failed", since, "no memory"),
    ]
    assert since.startswith("20")
    assert [row.has_ended for row in found] == [False, False, True, True]
    # One call for the submission, and one for the table.
    assert cluster.count("squeue") == 1


def test_a_run_that_workers_share_has_the_state_of_the_busiest(
    submit, cluster, configs, folder
):
    submit(configs, workers=2)
    cluster.end("100_1", "RUNNING")
    assert {(row.job, row.state) for row in rows(folder)} == {("100", "running")}
    cluster.end("100_1", "FAILED")
    assert {row.state for row in rows(folder)} == {"pending"}
    cluster.end("100_0", "CANCELLED")
    assert {row.state for row in rows(folder)} == {"CANCELLED"}


def test_a_job_of_another_cluster_is_unknown_here(submit, cluster, configs, folder):
    submit(configs[:1])
    ledger = Ledger(folder)
    (entry,) = ledger.entries().values()
    ledger.lines.append([vars(entry) | {"cluster": "far"}])
    assert states(rows(folder)) == [("100", "unknown", "", "on cluster far")]


def test_the_table_lists_what_has_not_finished(
    submit, cluster, configs, folder, capsys, monkeypatch
):
    finished = {"status": "finished", "metrics": {}}
    monkeypatch.setattr(slurm_task, "_train", lambda config: finished)
    submit(configs)
    cluster.run("100_0")
    cluster.end("100_1", "RUNNING")
    capsys.readouterr()
    print_table(folder, None)
    output = capsys.readouterr().out
    assert output.startswith("4 submitted to SLURM: 1 finished, 1 running, 2 pending\n")
    assert [word for word in output.split() if word.startswith("100_")] == [
        "100_1",
        "100_2",
        "100_3",
    ]
    print_table(folder, None, shows_ended=True)
    assert "100_0" in capsys.readouterr().out
    print_table(folder, configs[2:3])
    output = capsys.readouterr().out
    assert output.startswith("1 submitted to SLURM: 1 pending\n")
    assert "100_2" in output
    assert "100_3" not in output


def test_control_characters_of_a_strangers_ledger_do_not_act(
    submit, cluster, configs, folder, capsys
):
    submit(configs[:1])
    ledger = Ledger(folder)
    (entry,) = ledger.entries().values()
    ledger.lines.append([vars(entry) | {"run": "\x1b[31m[red]x"}])
    capsys.readouterr()
    print_table(folder, None)
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "\\x1b[31m[red]x" in output


def test_the_command_needs_a_folder_and_names_an_empty_one(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        jobs_main([str(tmp_path / "nothing")])
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/nothing must be a folder of runs\n"
    )
    jobs_main([str(tmp_path)])
    assert capsys.readouterr().out == "no jobs were submitted to SLURM\n"


def test_the_command_says_in_a_line_that_slurm_is_missing(
    submit, configs, tmp_path, capsys, monkeypatch
):
    submit(configs)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        jobs_main([str(tmp_path / "outputs")])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "scontrol was not found in PATH" in line
