"""What a job of SLURM does: `python -m normlab.sweeps.slurm_task FOLDER`.

The folder is that of a submission, see `normlab.sweeps.slurm_ledger`. A job trains one
run, or takes one run after the other if the submission has workers. It notes in the
journal of the submission how each run has ended.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from normlab import signals
from normlab.leases import lease_seconds
from normlab.locks import Lock
from normlab.terminal import print_line

PREEMPTED = 128 + signal.SIGUSR1
# SLURM looks at the time of jobs once in a while, and may announce their end earlier
# than it was asked to.
SECONDS_EARLY = 90


def requeue(environment: Mapping[str, str]) -> None:
    """Ask SLURM to start this job again; its command then resumes the run.

    Only the first process of a job asks.

    Args:
        environment: environment variables of the process.
    """
    if environment.get("SLURM_PROCID", "0") != "0":
        return
    job = environment["SLURM_JOB_ID"]
    array = environment.get("SLURM_ARRAY_JOB_ID")
    if array is not None:
        job = f"{array}_{environment['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
        print_line(f"SLURM job {job} is queued again")
    except (OSError, subprocess.CalledProcessError) as error:
        print_line(
            f"SLURM job {job} could not be queued again ({error}); "
            f"submit it again to resume the run"
        )


class Task:
    """One job of a submission.

    Args:
        folder: of the submission.
        number: of the task in the array, 0 if it is none.
    """

    def __init__(self, folder: Path, number: int) -> None:
        from normlab.config.trust import OWN_NORMS_VARIABLE
        from normlab.sweeps.json_lines import JsonLines
        from normlab.sweeps.slurm_ledger import JOURNAL, read_submission

        self.folder = folder
        self.number = number
        self.submission = read_submission(folder)
        self.journal = JsonLines(folder / JOURNAL)
        self.ended: set[int] = set()
        self.cleared: set[int] = set()
        self.watched: dict[int, Lock] = {}  # of runs that other workers train
        self.timeouts = 0
        self.current: int | None = None
        for entry in self.submission.path:
            if entry not in sys.path:
                sys.path.append(entry)
        if self.submission.own_norms:
            # SLURM need not hand on the environment of the command.
            os.environ[OWN_NORMS_VARIABLE] = "\n".join(self.submission.own_norms)

    def work(self) -> None:
        """Train what there is to train.

        If other workers have leases, this waits until those of killed ones are stale,
        and trains their runs.

        Raises:
            Interrupted: a signal came.
            SystemExit: no other run can succeed either.
        """
        self._train_free()
        if self._has_leased_runs():
            time.sleep(lease_seconds())
            self._train_free()

    def _has_leased_runs(self) -> bool:
        """Whether other workers had leases of runs that have not ended since."""
        self._read_journal()
        for index, lock in self.watched.items():
            if index not in self.ended and lock.why_lease is not None:
                return True
        return False

    def _train_free(self) -> None:
        """Train the runs that have not ended and that no other worker trains."""
        for index in self._candidates():
            if index not in self.ended:
                self._read_journal()
            if index not in self.ended:
                self._run(index)

    def _candidates(self) -> Iterator[int]:
        """The numbers of the runs in the order in which this task tries them.

        The workers of a pool begin at different places, so that they rarely meet.
        """
        total = len(self.submission.runs)
        if not self.submission.workers:
            yield self.number
            return
        first = self.number * total // self.submission.workers
        for step in range(total):
            yield (first + step) % total

    def _run(self, index: int) -> None:
        from normlab.config.identity import run_folder
        from normlab.sweeps.jobs import failed_result
        from normlab.sweeps.slurm_ledger import read_config
        from normlab.training.experiment import stored_result

        try:
            config = read_config(self.folder, self.submission, index)
        except ValueError as error:
            self._note_result(index, failed_result(str(error)))
            return
        folder = run_folder(config)
        if self.submission.workers and self._is_trained(index, folder):
            return
        try:
            config = self._cleared(index, config, folder)
            stored = stored_result(folder, config)
        except ValueError as error:
            self._note_result(index, failed_result(str(error)))
            return
        if stored is not None:
            self._note_end(index, status=stored["status"])
            return
        self.current = index
        self._note_result(index, _train(config))
        self.current = None

    def _is_trained(self, index: int, folder: Path) -> bool:
        """Whether another worker trains a run at this moment."""
        from normlab.training.experiment import is_locked

        if not folder.is_dir():
            return False
        lock = self.watched.pop(index, None) or Lock(folder / ".lock")
        if not is_locked(lock):
            return False
        self.watched[index] = lock
        return True

    def _cleared(
        self, index: int, config: dict[str, Any], folder: Path
    ) -> dict[str, Any]:
        """Empty the folder for `rerun=true` once, however often the job is queued."""
        if not config["rerun"]:
            return config
        from normlab.training.experiment import clear, locked

        if index not in self.cleared and folder.is_dir():
            with locked(folder):
                clear(folder)
        self._note({"event": "cleared", "index": index})
        return config | {"rerun": False}

    def _note_result(self, index: int, result: Any) -> None:
        """Note how a run has ended, with its result if the run folder has none."""
        from normlab.endings import Stopped

        if isinstance(result, Stopped):
            why = {"stopped": result.reason, "exit_code": result.exit_code}
            self._note_end(index, status="stopped", **why)
            sys.exit(result.exit_code)
        is_stored = "run" in result and result["status"] != "pruned"
        kept = {} if is_stored else {"result": result}
        self._note_end(index, status=result["status"], **kept)

    def _note_end(self, index: int, status: str, **more: Any) -> None:
        now = datetime.now().isoformat(timespec="seconds")
        line = {"event": "ended", "index": index, "status": status, "time": now}
        self._note(line | more)
        self.ended.add(index)

    def _note(self, line: dict[str, Any]) -> None:
        with signals.postponed():
            self.journal.append([line])

    def _read_journal(self) -> None:
        for line in self.journal.read_new():
            event = line["event"]
            if event == "timeout":
                self.timeouts += line["task"] == self.number
            elif event == "ended":
                self.ended.add(line["index"])
            else:
                self.cleared.add(line["index"])

    def may_be_queued_again(self, seconds: float) -> bool:
        """Whether the job may be queued again after SLURM has announced its end.

        A job that ran out of time too often may not; a preempted one always may.

        Args:
            seconds: that the job has taken.
        """
        submission = self.submission
        limit = 60 * submission.timeout_min
        if seconds < limit - submission.signal_delay_s - SECONDS_EARLY:
            return True
        self._note({"event": "timeout", "task": self.number})
        self._read_journal()
        most = submission.max_num_timeout
        if self.timeouts <= most:
            return True
        if self.current is not None:
            from normlab.sweeps.jobs import failed_result

            reason = (
                f"it ran out of time more than {most} times, see hydra.launcher."
                f"max_num_timeout; the same command resumes it"
            )
            self._note_end(self.current, "failed", result=failed_result(reason))
        return False


def _train(config: dict[str, Any]) -> Any:
    from normlab.config.trust import guard_process
    from normlab.sweeps.queue import count_cores, result_of

    guard_process()
    os.environ.setdefault("OMP_NUM_THREADS", str(count_cores()))
    return result_of(config | {"progress": False})


def _exit_preempted(number: int, frame: Any) -> None:
    sys.exit(PREEMPTED)


def main(folder: Path) -> None:
    """Do the work of the job in whose environment this process is.

    SIGUSR1 and SIGUSR2 announce the end of the job. A run that trains writes a
    checkpoint first; then the job is queued again. On SIGTERM the process ends after
    the checkpoint, and SLURM decides what becomes of the job.

    Args:
        folder: of the submission.
    """
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, _exit_preempted)
    from normlab.endings import Interrupted
    from normlab.sweeps.slurm_ledger import STARTED

    # The `setup` of the job, which ran before, is a part of its time.
    started = float(os.environ.get(STARTED, time.time()))

    task = None
    try:
        task = Task(folder, int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")))
        task.work()
    except Interrupted as interrupted:
        print_line(str(interrupted))
        sys.exit(interrupted.exit_code)
    except SystemExit as end:
        if end.code != PREEMPTED:
            raise
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)  # it is being done
        if task is None or task.may_be_queued_again(time.time() - started):
            requeue(os.environ)
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
