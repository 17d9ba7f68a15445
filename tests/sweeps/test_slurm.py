"""What SLURM's commands are asked, and how their answers are read."""

import sys

import pytest

from normlab.sweeps import slurm
from normlab.sweeps.slurm import Cluster, JobState, SlurmRefusal

PLAIN = Cluster("c", 1001, has_accounting=False)
ACCOUNTED = Cluster("c", 1001, has_accounting=True)


@pytest.fixture
def answers(monkeypatch):
    """answers[program]: what it prints, or raises; the commands are in `asked`."""
    found = {}
    found["asked"] = asked = []

    def call(command, lock=None):
        asked.append(command)
        answer = found[command[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(slurm, "call", call)
    return found


def test_the_configuration_of_the_cluster_is_read(answers):
    answers["scontrol"] = (
        "Configuration data as of 2026-01-01\n"
        "AccountingStorageType   = accounting_storage/slurmdbd\n"
        "ClusterName             = big = one\nMaxArraySize            = 17\n"
    )
    assert slurm.read_cluster() == Cluster("big = one", 17, True)
    answers["scontrol"] = "AccountingStorageType = (null)\nClusterName = c\n"
    assert slurm.read_cluster() == Cluster("c", 0, False)


@pytest.mark.parametrize("answer", ["12\n", "12;cluster\n", "a notice\n12\n"])
def test_the_number_of_a_submitted_job(answers, answer):
    answers["sbatch"] = answer
    assert slurm.submit(["--x", "script"]) == "12"
    assert answers["asked"] == [["sbatch", "--parsable", "--x", "script"]]


def test_an_answer_without_a_number_is_refused(answers):
    answers["sbatch"] = "hello\n"
    with pytest.raises(SlurmRefusal, match="'hello', which has no number of a job"):
        slurm.submit(["script"])


def test_states_of_all_jobs_come_from_one_call(answers):
    answers["squeue"] = (
        "12_0   RUNNING   0   2026-01-01T00:00:01   2026-01-01T00:00:02   N/A   None\n"
        "12_1   PENDING   0   2026-01-01T00:00:01   N/A   N/A   Resources\n"
        "12_2   PENDING   2   2026-01-01T00:00:03   N/A   N/A   (launch failed held)\n"
        "13   CANCELLED   0   2026-01-01T00:00:01   N/A   2026-01-01T00:00:04   None\n"
        "99   RUNNING   0   2026-01-01T00:00:01   N/A   N/A   None\n"
    )
    states = slurm.job_states(["12_0", "12_1", "12_2", "13", "14"], PLAIN)
    assert states == {
        "12_0": JobState("RUNNING", "2026-01-01T00:00:02"),
        "12_1": JobState("PENDING", "2026-01-01T00:00:01", "Resources"),
        "12_2": JobState("PENDING", "2026-01-01T00:00:03", "(launch failed held)", 2),
        "13": JobState("CANCELLED", "2026-01-01T00:00:04"),
        "14": JobState("UNKNOWN"),
    }
    names = {job: state.name for job, state in states.items()}
    assert names == {
        "12_0": "running",
        "12_1": "pending",
        "12_2": "requeued",
        "13": "CANCELLED",
        "14": "UNKNOWN",
    }
    ended = {job for job, state in states.items() if state.has_ended}
    assert ended == {"13", "14"}
    assert len(answers["asked"]) == 1
    assert "--jobs=12,13,14" in answers["asked"][0]


@pytest.mark.parametrize(
    ("reason", "is_held"),
    [
        ("JobHeldUser", True),
        ("JobHoldMaxRequeue", True),
        ("(launch failed requeued held)", True),
        ("PartitionTimeLimit", True),
        ("InvalidQOS", True),
        ("Priority", False),
        ("Resources", False),
        ("BeginTime", False),
        ("", False),
    ],
)
def test_a_job_that_waits_for_somebody_is_held(reason, is_held):
    assert JobState("PENDING", reason=reason).is_held == is_held
    assert not JobState("CANCELLED", reason=reason).is_held


def test_accounts_are_asked_about_jobs_that_are_forgotten(answers):
    answers["squeue"] = SlurmRefusal("Invalid job id specified")
    answers["sacct"] = (
        "12_0|COMPLETED|2026-01-01T00:00:01|0:0\n"
        "12_[1,3-4%2]|CANCELLED by 1000|2026-01-01T00:00:02|0:0\n"
        "13|FAILED|Unknown|7:0\n"
    )
    jobs = ["12_0", "12_1", "12_3", "12_4", "13"]
    cancelled = JobState("CANCELLED", "2026-01-01T00:00:02", "by user 1000")
    assert slurm.job_states(jobs, ACCOUNTED) == {
        "12_0": JobState("COMPLETED", "2026-01-01T00:00:01"),
        "12_1": cancelled,
        "12_3": cancelled,
        "12_4": cancelled,
        "13": JobState("FAILED", "", "exit code 7"),
    }
    programs = [command[0] for command in answers["asked"]]
    assert programs == ["squeue", "sacct"]


def test_nothing_is_asked_about_no_jobs(answers):
    assert slurm.job_states([], PLAIN) == {}
    assert slurm.find_jobs([], PLAIN) == {}
    assert answers["asked"] == []


def test_a_scheduler_that_does_not_answer_is_no_end_of_jobs(answers):
    answers["squeue"] = SlurmRefusal("Unable to contact slurm controller")
    with pytest.raises(SlurmRefusal, match="Unable to contact"):
        slurm.job_states(["12"], PLAIN)


def test_jobs_are_found_by_name(answers):
    answers["squeue"] = "12 n-a\n12 n-a\n13 n-c\n"
    assert slurm.find_jobs(["n-a", "n-b"], PLAIN) == {"n-a": "12"}
    answers["sacct"] = "14_[0-3] n-b\n14_4 n-b\n"
    assert slurm.find_jobs(["n-a", "n-b"], ACCOUNTED) == {"n-a": "12", "n-b": "14"}


@pytest.mark.parametrize(
    ("identifier", "jobs"),
    [
        ("12", ["12"]),
        ("12_3", ["12_3"]),
        ("12_[3]", ["12_3"]),
        ("12_[0-2]", ["12_0", "12_1", "12_2"]),
        ("12_[0,3-4%2]", ["12_0", "12_3", "12_4"]),
    ],
)
def test_identifiers_of_arrays_are_expanded(identifier, jobs):
    assert slurm.expand(identifier) == jobs


def test_a_program_that_is_missing_or_fails_is_explained():
    with pytest.raises(ValueError, match="no-such-sbatch was not found in PATH"):
        slurm.call(["no-such-sbatch"])
    program = (
        "import sys; sys.exit('sbatch: error: one\\n"
        "sbatch: error: Batch job submission failed: Invalid partition')"
    )
    with pytest.raises(SlurmRefusal, match="^Invalid partition$"):
        slurm.call([sys.executable, "-c", program])
    with pytest.raises(SlurmRefusal, match="it failed without a message"):
        slurm.call([sys.executable, "-c", "raise SystemExit(1)"])
    assert slurm.call([sys.executable, "-c", "print('yes')"]) == "yes\n"


def test_a_job_that_submits_jobs_hands_on_no_array(monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    program = "import os; print([n for n in os.environ if n.startswith('SLURM_')])"
    assert slurm.call([sys.executable, "-c", program]) == "['SLURM_CONF']\n"


def test_a_program_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(slurm, "SECONDS_TO_ANSWER", 0.1)
    with pytest.raises(SlurmRefusal, match="SLURM does not answer"):
        slurm.call([sys.executable, "-c", "import time; time.sleep(60)"])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("CANCELLED", "somebody cancelled it"),
        ("TIMEOUT", "it took longer than 60 minutes"),
        ("NODE_FAIL", "its machine was lost"),
        ("OUT_OF_MEMORY", "set hydra.launcher.mem_gb"),
        ("PREEMPTED", "other jobs took its place"),
        ("FAILED", "it left no result (exit code 3)"),
        ("UNKNOWN", "SLURM does not know it any more"),
    ],
)
def test_every_end_without_a_result_is_one_line_with_advice(state, words):
    reason = "exit code 3" if state == "FAILED" else ""
    text = slurm.explain_end("12_3", JobState(state, reason=reason), 60)
    assert text.startswith(f"job 12_3 {state}: ")
    assert words in text
    assert "the same command resumes its run" in text
    assert "\n" not in text
