"""A study on disk: several processes may work on it, and a killed one loses nothing."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from normlab.config.identity import NOT_PART_OF_THE_RESULT
from normlab.search.objective import Outcome
from normlab.search.options import Options, build_pruner, build_sampler
from normlab.search.space import Space, describe

STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
MOST_DIFFERENCES = 3
optuna.logging.set_verbosity(optuna.logging.WARNING)


def storage_address(storage: str, folder: Path) -> str:
    """Where a study is stored: a journal file or a SQLite file in its folder, or the URL that was given."""
    return {
        "journal": str(folder / "study.journal"),
        "sqlite": f"sqlite:///{folder / 'study.db'}",
    }.get(storage, storage)


def open_storage(address: str) -> BaseStorage:
    """The storage at an address of `storage_address`.

    Raises:
        ValueError: a URL that leads to no database.
    """
    if "://" not in address:
        return JournalStorage(JournalFileBackend(address, _JournalLock(Path(address))))
    from sqlalchemy.exc import SQLAlchemyError

    patience = {"connect_args": {"timeout": 60}} if address.startswith("sqlite") else {}
    try:
        return RDBStorage(address, engine_kwargs=patience)
    except (
        SQLAlchemyError,
        ImportError,
    ) as error:  # the URL is not repeated, since it may hold a password
        raise ValueError(
            f"hydra.sweeper.storage cannot be opened: {str(error).splitlines()[0]}"
        ) from error


class _JournalLock:
    """What the journal's backend asks for, but one that dies with its owner. It also cuts off half a line that a kill
    or a full disk left at the end of the journal, since the next line would go on from there."""

    def __init__(self, journal: Path) -> None:
        self.journal, self.lock = journal, FileLock(f"{journal}.lock")

    def acquire(self) -> bool:
        self.lock.acquire()
        with open(self.journal, "rb+") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - 2**16))
            tail = file.read()
            if tail and not tail.endswith(b"\n"):
                file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.lock.release()


def define(
    space: Space,
    metric: str,
    direction: str,
    seeds: list[int],
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """All that the values of a study depend on, as plain data.

    Args:
        space: what varies.
        metric: of the runs.
        direction: maximize or minimize.
        seeds: over which the metric is averaged.
        config: resolved, at any one point of the space, but always the same.
    """
    settings = {
        key: value
        for key, value in config.items()
        if key not in (*NOT_PART_OF_THE_RESULT, "seed")
    }
    varies = {key: describe(distribution) for key, distribution in space.items()}
    return {
        "metric": metric,
        "direction": direction,
        "seeds": seeds,
        "space": varies,
        "settings": _flat(settings),
    }


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{key}": value}
        )
    return flat


def differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a definition changed, each in a few words; of the fixed settings only where nothing else differs."""
    found = [
        f"{key}={stored[key]} then, {now[key]} now"
        for key in ("metric", "direction", "seeds")
        if stored[key] != now[key]
    ]
    for part in ("space", "settings"):
        old, new = stored[part], now[part]
        keys = [
            key
            for key in {**old, **new}
            if old.get(key, _MISSING) != new.get(key, _MISSING)
        ]
        found += [
            f"{key}={old.get(key, _MISSING)} then, {new.get(key, _MISSING)} now"
            for key in keys
        ]
        if found:
            break
    return found


_MISSING = "nothing"


def check_definition(study: Study, definition: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with a study whose values would not compare with new ones.

    Raises:
        ValueError: shows what differs.
    """
    stored = study.user_attrs.get("definition")
    found = (
        ["another program began it"]
        if stored is None
        else differences(stored, definition)
    )
    if found:
        more = (
            f" and {len(found) - MOST_DIFFERENCES} more"
            if len(found) > MOST_DIFFERENCES
            else ""
        )
        raise ValueError(
            f"the search in {folder} was begun otherwise: {'; '.join(found[:MOST_DIFFERENCES])}{more}. "
            f"Name this one with hydra.sweeper.study_name, or delete that folder"
        )


def stored_study(address: str, name: str) -> Study | None:
    """The study if it was ever begun."""
    path = address.removeprefix("sqlite:///")
    if "://" not in path and not Path(path).is_file():  # opening it would make it
        return None
    try:
        return optuna.load_study(study_name=name, storage=open_storage(address))
    except KeyError:
        return None


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that a search has begun or done: without failed ones that were tried again, and without those whose
    process was killed before it had chosen their parameters."""
    repeated = {
        trial.user_attrs["repeats"] for trial in trials if "repeats" in trial.user_attrs
    }
    return [
        trial
        for trial in trials
        if trial.state != TrialState.WAITING
        and trial.number not in repeated
        and not (trial.state == TrialState.FAIL and "reason" not in trial.user_attrs)
    ]


class Search:
    """A stored study and the trials of it that this process has taken: `with Search(...) as search: ...`

    Whoever works on a trial holds a lock, which the system drops with the process: a trial that runs without one was
    interrupted, and the next process takes it.

    Args:
        folder: of the study; made if it is not there.
        name: of the study in its storage.
        options: of the sweeper.
        space: what to sample.
        definition: from `define`.
        retry: try failed trials once more, not only those that were lost.

    Raises:
        ValueError: the stored study was begun with another definition.
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
        self.folder, self.options, self.space = folder, options, space
        self.address = storage_address(options.storage, folder)
        self.locks: dict[int, FileLock] = {}
        with FileLock(folder / ".lock"):
            self.study = optuna.create_study(
                storage=open_storage(self.address),
                study_name=name,
                direction=definition["direction"],
                pruner=build_pruner(options.pruner),
                load_if_exists=True,
            )
            if "definition" not in self.study.user_attrs and not self.study.get_trials(
                deepcopy=False
            ):
                self.study.set_user_attr("definition", definition)
            check_definition(self.study, definition, folder)
        failed = [trial for trial in self.trials if trial.state == TrialState.FAIL]
        self.to_retry = [
            trial.number for trial in failed if retry or trial.user_attrs["lost"]
        ]

    @property
    def trials(self) -> list[FrozenTrial]:
        """As stored now, without those that do not count."""
        return counted(self.study.get_trials(deepcopy=False))

    def take(self) -> Trial | None:
        """An interrupted trial, else one to try again, else a new one; None when `n_trials` have been begun."""
        with FileLock(self.folder / ".lock"):
            trial = self._take_interrupted() or self._take_new()
            if trial is not None:
                trial.set_user_attr("pruner", self.options.pruner)
            return trial

    def _take_interrupted(self) -> Trial | None:
        for running in self.study.get_trials(
            deepcopy=False, states=(TrialState.RUNNING,)
        ):
            if not self._claim(running.number):
                continue
            frozen = self.study.get_trials(deepcopy=False)[
                running.number
            ]  # it may have ended just before
            if frozen.state == TrialState.RUNNING:
                if frozen.params.keys() == self.space.keys():
                    return Trial(self.study, frozen._trial_id)
                self.study.tell(frozen.number, state=TrialState.FAIL)
            self._release(frozen.number)
        return None

    def _take_new(self) -> Trial | None:
        self._enqueue_retry()
        begun = len(self.trials)
        if begun >= self.options.n_trials:
            return None
        self.study.sampler = build_sampler(self.options.sampler, begun)
        trial = self._ask()
        self._claim(trial.number)
        return trial

    def _ask(self) -> Trial:
        try:
            return self.study.ask(self.space)
        except ImportError as error:
            name = type(self.study.sampler).__name__
            raise ValueError(
                f"hydra.sweeper.sampler: {name}: {str(error).splitlines()[0]}"
            ) from error

    def _enqueue_retry(self) -> None:
        failed = {trial.number: trial for trial in self.trials}
        while self.to_retry:
            number = self.to_retry.pop(0)
            if number in failed:  # else another process was faster
                self.study.enqueue_trial(
                    failed[number].params, user_attrs={"repeats": number}
                )
                return

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Store how a trial ended."""
        for key in ("lost", "reason", "values", "seconds"):
            trial.set_user_attr(key, getattr(outcome, key))
        self.study.tell(trial.number, outcome.value, state=STATES[outcome.status])
        self._release(trial.number)

    def report_epochs(self, trial: Trial, folder: Path, metric: str) -> None:
        """Give the study what a run that was stored before the trial began has never reported itself."""
        reported = self.study.get_trials(deepcopy=False)[
            trial.number
        ].intermediate_values
        with open(folder / "metrics.csv") as file:
            for row in csv.DictReader(file):
                if int(row["epoch"]) not in reported:
                    trial.report(float(row[metric]), int(row["epoch"]))

    def handle(self, trial: Trial) -> dict[str, Any]:
        """The configuration's `trial`: the callback by which a run in any process reports."""
        return {
            "_target_": "normlab.search.pruning.ReportToTrial",
            "storage": self.address,
            "study": self.study.study_name,
            "number": trial.number,
        }

    def _claim(self, number: int) -> bool:
        if number in self.locks:
            return False
        lock = FileLock(self._lock_path(number))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self.locks[number] = lock
        return True

    def _release(self, number: int) -> None:
        self._lock_path(number).unlink(
            missing_ok=True
        )  # the trial has ended: nobody asks for its lock any more
        self.locks.pop(number).release()

    def _lock_path(self, number: int) -> Path:
        return self.folder / f".trial-{number}.lock"

    def __enter__(self) -> "Search":
        return self

    def __exit__(self, *error: object) -> None:
        for lock in self.locks.values():
            lock.release()
        self.locks.clear()
