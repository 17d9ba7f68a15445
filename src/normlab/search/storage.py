"""A search on disk: several processes may work on it, and a kill loses nothing.

The trials are in a study of Optuna. This project uses the word *study* for something
else, so what Optuna calls a study is the `optuna_study` of a search here.
"""

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from normlab.leases import lease_seconds
from normlab.locks import Lock
from normlab.messages import first_line
from normlab.results import check_log
from normlab.search.definition import check_definition
from normlab.search.journal import CheckedJournal
from normlab.search.objective import Outcome
from normlab.search.options import Options, build_pruner, build_sampler
from normlab.search.space import Space
from normlab.spelling import did_you_mean
from normlab.terminal import print_line

STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
SQLITE_PATIENCE_SECONDS = 60
# What SQLAlchemy calls databases, and the packages of drivers that have other names.
DIALECTS = ("postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql")
DRIVER_PACKAGES = {
    "psycopg2": "psycopg2-binary",
    "psycopg": "'psycopg[binary]'",
    "MySQLdb": "mysqlclient",
}
# Settings by which groups of runs are told apart unless `group` is set.
GROUP_KEYS = ("choices.dataset", "choices.model")
optuna.logging.set_verbosity(optuna.logging.WARNING)


def storage_address(storage: str, folder: Path) -> str:
    """The address of a storage.

    Args:
        storage: `journal` or `sqlite`, which are files in the folder, or a URL, which
            is its own address.
        folder: the folder of the search.
    """
    if storage == "journal":
        return str(folder / "study.journal")
    if storage == "sqlite":
        return f"sqlite:///{folder / 'study.db'}"
    return storage


def open_storage(address: str) -> BaseStorage:
    """Open the storage at an address.

    Args:
        address: what `storage_address` returned.

    Raises:
        ValueError: a URL that leads to no database, or a damaged journal.
    """
    if "://" not in address:
        return JournalStorage(CheckedJournal(Path(address)))
    from sqlalchemy.exc import SQLAlchemyError

    options = {}
    if address.startswith("sqlite"):
        options["connect_args"] = {"timeout": SQLITE_PATIENCE_SECONDS}
    try:
        return RDBStorage(address, engine_kwargs=options)
    # RuntimeError: the tables are of another version of Optuna, which says what to do.
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        # The URL is not repeated, since it may hold a password.
        raise ValueError(
            f"hydra.sweeper.storage cannot be opened: {_why(address, error)}"
        ) from error


def _why(address: str, error: Exception) -> str:
    """Why a database cannot be opened, and what to do if that is known."""
    scheme = address.partition("://")[0]
    cause = error.__context__ or error  # Optuna raises an error of its own
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        package = DRIVER_PACKAGES.get(cause.name, cause.name)
        return (
            f"{scheme}:// needs the driver {cause.name}, which is not installed: "
            f"pip install {package}"
        )
    reason = first_line(error)
    dialect = scheme.partition("+")[0]
    if dialect not in DIALECTS:
        reason += did_you_mean(dialect, DIALECTS)
    return reason


def load_optuna_study(address: str, name: str) -> optuna.Study | None:
    """The stored study of a search; None if the search was never started.

    Args:
        address: the address of the storage.
        name: the name of the search.
    """
    path = address.removeprefix("sqlite:///")
    if "://" not in path and not Path(path).is_file():
        return None  # opening the storage would create its file
    try:
        return optuna.load_study(study_name=name, storage=open_storage(address))
    except KeyError:
        return None


def find_name(address: str, names: Sequence[str], definition: Mapping[str, Any]) -> str:
    """The name that a search has in its storage, the first if it has none yet.

    Args:
        address: the address of the storage.
        names: the name of a new search, then those of earlier versions, which searches
            over other data sets and models may have too.
        definition: from `normlab.search.definition.define`.
    """
    first, *earlier = names
    if not earlier or load_optuna_study(address, first) is not None:
        return first
    for name in earlier:
        optuna_study = load_optuna_study(address, name)
        if optuna_study is None:
            continue
        stored = optuna_study.user_attrs.get("definition", {}).get("settings", {})
        now = definition["settings"]
        if all(stored.get(key) == now.get(key) for key in GROUP_KEYS):
            return name
    return first


def trial_of(optuna_study: optuna.Study, frozen: FrozenTrial) -> Trial:
    """The trial to which values can be reported, of a trial as it is stored.

    The number of a trial in its storage is private in Optuna (5.0.0).
    """
    return Trial(optuna_study, frozen._trial_id)


def begun_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count: those that a search has begun or done.

    Failed trials that were tried again do not count, and neither do those whose process
    was killed before their parameters were chosen.

    Args:
        trials: all trials as they are stored.
    """
    repeated = {trial.user_attrs.get("repeats") for trial in trials}
    begun = []
    for trial in trials:
        if trial.state == TrialState.WAITING or trial.number in repeated:
            continue
        if trial.state == TrialState.FAIL and "reason" not in trial.user_attrs:
            continue
        begun.append(trial)
    return begun


class Search:
    """A stored search, and the trials that this process works on.

    A process holds a lock for every trial that it works on, which the system releases
    when the process ends. A running trial whose lock is free was therefore interrupted,
    and the next process takes it.

    The end of a `with` block releases all trials.

    Args:
        folder: the folder of the search; it is created if it does not exist.
        name: the name of the search in its storage.
        options: the options of the sweeper.
        space: what varies between trials.
        definition: from `normlab.search.definition.define`.
        retry: try all failed trials once more, not only those that were lost.

    Raises:
        ValueError: the stored search was started with another definition.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        options: Options,
        space: Space,
        definition: dict[str, Any],
        retry: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.options = options
        self.space = space
        self.address = storage_address(options.storage, folder)
        self.locks: dict[int, Lock] = {}
        self.watched: dict[int, Lock] = {}  # of trials that other processes work on
        with self._lock():
            self.optuna_study = optuna.create_study(
                storage=open_storage(self.address),
                study_name=name,
                direction=definition["direction"],
                pruner=build_pruner(options.pruner),
                load_if_exists=True,
            )
            self._define(definition)
        self.to_retry = []
        for trial in self.trials:
            failed = trial.state == TrialState.FAIL
            if failed and (retry or trial.user_attrs["lost"]):
                self.to_retry.append(trial.number)

    def _define(self, definition: dict[str, Any]) -> None:
        """Store the definition of a new search, or compare it with the stored one."""
        attributes = self.optuna_study.user_attrs
        if "definition" not in attributes and not self._stored_trials():
            self.optuna_study.set_user_attr("definition", definition)
        stored = self.optuna_study.user_attrs.get("definition")
        check_definition(stored, definition, self.folder)

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials that count, as they are stored now, see `begun_trials`."""
        return begun_trials(self._stored_trials())

    def _stored_trials(self) -> list[FrozenTrial]:
        return self.optuna_study.get_trials(deepcopy=False)

    def take(self) -> Trial | None:
        """Take a trial to work on.

        Returns:
            an interrupted trial if there is one, else a failed one that is tried again,
            else a new one; None if `n_trials` have been begun.
        """
        with self._lock():
            trial = self._take_interrupted() or self._take_new()
            if trial is not None:
                trial.set_user_attr("pruner", self.options.pruner)
            return trial

    def watch_leases(self) -> bool:
        """Wait until a lease of a running trial is stale if its process was killed.

        Returns:
            whether there is such a lease; otherwise this returns at once.
        """
        for trial in self._stored_trials():
            lock = self.watched.get(trial.number)
            is_leased = lock is not None and lock.why_lease is not None
            if is_leased and trial.state == TrialState.RUNNING:
                seconds = lease_seconds()
                print_line(f"waiting {seconds:g} s for trials that may be abandoned")
                time.sleep(seconds)
                return True
        return False

    def _take_interrupted(self) -> Trial | None:
        for trial in self._stored_trials():
            if trial.state != TrialState.RUNNING or not self._claim(trial.number):
                continue
            # Read it again: it may have ended before its lock was free.
            trial = self._stored_trials()[trial.number]
            if trial.state == TrialState.RUNNING:
                if trial.params.keys() == self.space.keys():
                    return trial_of(self.optuna_study, trial)
                # Its process was killed before all parameters were chosen.
                self.optuna_study.tell(trial.number, state=TrialState.FAIL)
            self._release(trial.number)
        return None

    def _take_new(self) -> Trial | None:
        # A trial that is tried again leaves those that were begun.
        if len(self.trials) - bool(self.to_retry) >= self.options.n_trials:
            return None
        self._enqueue_retry()
        begun = len(self.trials)
        if begun >= self.options.n_trials:
            return None
        self.optuna_study.sampler = build_sampler(self.options.sampler, begun)
        trial = self._sample()
        self._claim(trial.number)
        return trial

    def _sample(self) -> Trial:
        space: dict[str, BaseDistribution] = {**self.space}
        try:
            return self.optuna_study.ask(space)
        except ImportError as error:
            sampler = type(self.optuna_study.sampler).__name__
            reason = first_line(error)
            raise ValueError(f"hydra.sweeper.sampler: {sampler}: {reason}") from error

    def _enqueue_retry(self) -> None:
        """Let the next trial repeat a failed one, if there is one to try again."""
        trials = {trial.number: trial for trial in self.trials}
        while self.to_retry:
            number = self.to_retry.pop(0)
            if number not in trials:
                continue  # another process was faster
            self.optuna_study.enqueue_trial(
                trials[number].params, user_attrs={"repeats": number}
            )
            return

    def record(self, trial: Trial, outcome: Outcome) -> None:
        """Store how a trial ended, and release it.

        Args:
            trial: a trial that this process works on.
            outcome: how it ended.
        """
        trial.set_user_attr("lost", outcome.lost)
        trial.set_user_attr("reason", outcome.reason)
        trial.set_user_attr("values", outcome.values)
        trial.set_user_attr("seconds", outcome.seconds)
        state = STATES[outcome.status]
        self.optuna_study.tell(trial.number, outcome.value, state=state)
        self._release(trial.number)

    def report_epochs(self, trial: Trial, folder: Path, metric: str) -> None:
        """Report the epochs of a run that has not reported them itself.

        This is for runs that were stored before their trial began. Of a `metrics.csv`
        that was changed afterwards, nothing is reported but that.

        Args:
            trial: the trial of the run.
            folder: the folder of the run.
            metric: the metric of the objective.
        """
        reported = self._stored_trials()[trial.number].intermediate_values
        path = folder / "metrics.csv"
        try:
            check_log(path)
        except ValueError as error:
            print_line(f"warning: the pruner does not learn of a run's epochs: {error}")
            return
        with open(path) as file:
            for row in csv.DictReader(file):
                epoch = int(row["epoch"])
                if epoch not in reported:
                    trial.report(float(row[metric]), epoch)

    def callback_config(self, trial: Trial) -> dict[str, Any]:
        """What `trial` is in the configuration of a run that reports to a trial.

        Args:
            trial: the trial of the run, which may train in another process.
        """
        return {
            "_target_": "normlab.search.pruning.ReportToTrial",
            "storage": self.address,
            "study": self.optuna_study.study_name,
            "number": trial.number,
        }

    def _lock(self) -> Lock:
        """The lock under which processes decide who takes which trial."""
        return Lock(self.folder / ".lock")

    def _claim(self, number: int) -> bool:
        """Lock a trial; returns whether nobody else works on it."""
        if number in self.locks:
            return False
        # A lease becomes stale for the lock that has watched it for a while.
        lock = self.watched.pop(number, None) or Lock(self._trial_lock(number))
        is_acquired = lock.acquire(seconds=0)
        held = self.locks if is_acquired else self.watched
        held[number] = lock
        return is_acquired

    def _release(self, number: int) -> None:
        """Release a trial that has ended, whose lock nobody will ask for again."""
        self._trial_lock(number).unlink(missing_ok=True)
        self.locks.pop(number).release()

    def _trial_lock(self, number: int) -> Path:
        return self.folder / f".trial-{number}.lock"

    def __enter__(self) -> "Search":
        return self

    def __exit__(self, *error: object) -> None:
        for lock in self.locks.values():
            lock.release()
        self.locks.clear()
