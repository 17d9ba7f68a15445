"""Loggers that record a run besides its own `metrics.csv`, one function each.

`logger=[tensorboard,wandb]` selects them. Each takes the run folder and the run's name,
and returns a logger of Lightning.
"""

import math
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from csv import DictReader
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.csv_logs import (
    _ExperimentWriter as _FabricExperimentWriter,
)
from omegaconf import OmegaConf
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import DummyLogger, rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from normlab.config.identity import NOT_PART_OF_THE_RESULT, name_of
from normlab.config.schema import Key, general_keys, has_option, look_up, read_option
from normlab.config.targets import build_once
from normlab.endings import EarlyEnd, NoResult, disk_is_full
from normlab.event_files import EventLogger, record_png
from normlab.locks import check_lease
from normlab.messages import with_class
from normlab.metrics import PARTS
from normlab.results import write_atomically
from normlab.terminal import print_line

# TensorBoard sorts groups by name; this one comes after the curves, `train` and `val`,
# and before `within`, the statistics of layers.
TENSORBOARD_GROUP = "with the best weights"
TENSORBOARD_SCORES = f"{TENSORBOARD_GROUP}, all scores"
PACKAGES = ("wandb", "mlflow")  # loggers that need a package of their name
MLFLOW_MARK = "normlab.mark"  # tag by which a record is found before its id is stored


class LoggerFault(NoResult):
    """A logger cannot be used."""


def check_loggers(config: dict[str, Any]) -> None:
    """Refuse loggers whose package is not installed.

    Raises:
        ValueError: names the package.
    """
    for name in config.get("logger") or {}:
        if name in PACKAGES and find_spec(name) is None:
            raise ValueError(
                f"logger={name} needs the package {name}, which is not installed: "
                f"pip install {name}"
            )


def build_loggers(config: dict[str, Any], folder: Path) -> list[Logger]:
    """Build the loggers of a configuration.

    Args:
        config: the resolved configuration. `logger` names functions of this module, or
            others that take `folder` and `name` and return a logger of Lightning.
        folder: of the run.
    """
    loggers = []
    for name, options in (config.get("logger") or {}).items():
        logger = _connected(name, options, folder)
        loggers.append(logger)
        # TensorBoard's table has a row for a run once its scores are known.
        if not isinstance(logger, TensorBoardLogger | CSVLogger):
            _name_failures(logger, name)
            with _failures_named(name, "settings", "config.yaml"):
                logger.log_hyperparams(hyperparameters(config))
    return loggers


def _connected(name: str, options: dict[str, Any], folder: Path) -> Logger:
    """Build a logger, and let it find its server.

    Raises:
        LoggerFault: it cannot.
    """
    try:
        logger: Logger = build_once(options)(folder=folder, name=name_of(folder))
        if not isinstance(logger, TensorBoardLogger | CSVLogger):
            getattr(logger, "experiment", None)
    except Exception as error:  # of any package, server or network
        cause = error.__cause__ or error
        if isinstance(cause, EarlyEnd) or disk_is_full(cause):
            raise cause from None
        raise LoggerFault(
            f"logger={name} cannot be used ({with_class(cause)}): try it again, or "
            f"leave it out"
        ) from error
    return logger


def _name_failures(logger: Logger, name: str) -> None:
    """Let a logger warn if it fails during training, after which it is left alone.

    A server that is gone would keep every epoch waiting.

    Args:
        logger: of a package that may need a server.
        name: of the logger.
    """
    is_lost = False

    def warn_once(method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any, **options: Any) -> None:
            nonlocal is_lost
            if is_lost:
                return
            has_failed = True
            with _failures_named(name, "metrics of all epochs", "metrics.csv"):
                method(*arguments, **options)
                has_failed = False
            is_lost |= has_failed  # not before: a method may call another one

        return call

    for method in (logger.log_metrics, logger.save, logger.finalize):
        setattr(logger, method.__name__, warn_once(method))


def tensorboard(folder: Path, name: str = "") -> TensorBoardLogger:
    """Event files in the run folder, so that TensorBoard shows the run by its name."""
    return EventLogger(folder)


class _ResumedWriter(ExperimentWriter):
    """Keep the rows that are there.

    Lightning's own writer deletes the file, with a warning. When a run is resumed, the
    rows up to its checkpoint are kept.
    """

    def save(self) -> None:
        check_lease(Path(self.metrics_file_path))
        super().save()

    def _check_log_dir_exists(self) -> None:  # private, as of Lightning 2.6.6
        path = Path(self.metrics_file_path)
        if path.is_file():
            with open(path, newline="") as file:
                self.metrics_keys = list(DictReader(file).fieldnames or [])


class _ResumedCSVLogger(CSVLogger):
    @property
    @rank_zero_experiment
    def experiment(self) -> _FabricExperimentWriter:
        if self._experiment is None:
            self._experiment = _ResumedWriter(self.log_dir)
        return self._experiment


def csv(folder: Path, name: str) -> CSVLogger:
    """Lightning's own CSV files, in `csv/`; a resumed run continues the same file."""
    return _ResumedCSVLogger(folder, name="", version="csv")


def wandb(folder: Path, name: str, project: str, offline: bool) -> Logger:
    """Weights & Biases; a resumed run continues the same record.

    The record has a random id, which lies in the run folder: other runs of a project
    may have the same name. Of several processes that train together, the first one
    records.

    Args:
        folder: of the run.
        name: of the run.
        project: to which the record belongs.
        offline: keep the record in the run folder, for `wandb sync`. A resumed run then
            adds a second part to it.
    """
    if rank_zero_only.rank > 0:  # type: ignore[attr-defined] # of a function
        return DummyLogger()
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    path = folder / "wandb_run_id"
    if not path.is_file():
        number = secrets.token_hex(8)
        if (folder / "wandb").is_dir():  # a run that an earlier version began
            number = folder.name[-80:]
        write_atomically(path, number.encode())
    return WandbLogger(
        name=name,
        id=path.read_text(),
        project=project,
        save_dir=folder,
        offline=offline,
        resume="allow",
        experiment=wandb.run,
    )


def mlflow(folder: Path, name: str, tracking_uri: str | None) -> Logger:
    """MLflow, with the run's group as experiment; a resumed run continues its record.

    The status of the record of an interrupted run is KILLED until the run is resumed.
    SIGKILL leaves no time to say so, and the status stays RUNNING. If the record was
    deleted in MLflow, the resumed run begins a new one. Of several processes that train
    together, the first one records.

    Args:
        folder: of the run.
        name: group and name of the run.
        tracking_uri: address of a server; None keeps an SQLite file in `paths.outputs`.
    """
    if rank_zero_only.rank > 0:  # type: ignore[attr-defined] # of a function
        return DummyLogger()
    from pytorch_lightning.loggers import MLFlowLogger

    group, _, run = name.partition("/")
    uri = tracking_uri or f"sqlite:///{(folder.parents[1] / 'mlflow.db').absolute()}"
    begin = partial(MLFlowLogger, experiment_name=group, run_name=run, tracking_uri=uri)
    path = folder / "mlflow_run_id"
    run_id = _mlflow_record(path, uri, group)
    if run_id is None:
        # MLflow chooses the id. A process that is killed before it has stored the id
        # leaves a record, which the next one finds by this mark.
        mark = secrets.token_hex(16)
        write_atomically(path, f"{MLFLOW_MARK}={mark}".encode())
        logger = begin(tags={MLFLOW_MARK: mark})
    else:
        logger = begin(run_id=run_id)
        logger.experiment.update_run(run_id, status="RUNNING")
    write_atomically(path, str(logger.run_id).encode())
    return logger


def _mlflow_record(path: Path, uri: str, group: str) -> str | None:
    """The record that an earlier start of a run began; None if MLflow has none."""
    if not path.is_file():
        return None
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    stored = path.read_text()
    key, _, mark = stored.partition("=")
    if key == MLFLOW_MARK:
        return _marked_record(client, group, mark)
    try:
        known = client.get_run(stored)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return stored if known.info.lifecycle_stage == "active" else None


def _marked_record(client: Any, group: str, mark: str) -> str | None:
    """The record of an experiment that has a mark; None if there is none."""
    experiment = client.get_experiment_by_name(group)
    if experiment is None:
        return None
    ids = [experiment.experiment_id]
    for record in client.search_runs(ids, f"tags.`{MLFLOW_MARK}` = '{mark}'"):
        return str(record.info.run_id)
    return None


def unknown_metrics(names: Iterable[str]) -> dict[str, float]:
    """NaN for every final metric of a run that has none.

    TensorBoard takes the columns of its table from any one run, so each must have all.
    """
    reversed_names = list(names)[::-1]
    return {f"{part}/{name}": math.nan for part in PARTS for name in reversed_names}


def log_final(
    config: dict[str, Any],
    folder: Path,
    status: str,
    metrics: dict[str, float],
    scores: Mapping[str, float] | None = None,
    images: Mapping[str, bytes] | None = None,
) -> None:
    """Record settings, status and final metrics in every logger of the run.

    If a logger fails, it is named on standard error: the run is trained, and its result
    does not depend on the logger.

    Args:
        config: the resolved configuration.
        folder: of the run.
        status: of the run.
        metrics: of its best state, by name.
        scores: other numbers of its best state, by name.
        images: PNG files by name, for TensorBoard.
    """
    settings = hyperparameters(config) | {"status": status}
    for name, options in (config.get("logger") or {}).items():
        with _failures_named(name, "final metrics", "result.json"):
            logger = build_once(options)(folder=folder, name=name_of(folder))
            _log_final(logger, settings, metrics, scores or {}, images or {})


def log_interrupted(config: dict[str, Any], folder: Path) -> None:
    """Mark the record of a run that was stopped, in the loggers that can.

    Args:
        config: the resolved configuration.
        folder: of the run.
    """
    options = (config.get("logger") or {}).get("mlflow")
    if options is None:
        return
    with _failures_named("mlflow", "end", "the run folder"):
        logger = build_once(options)(folder=folder, name=name_of(folder))
        logger.experiment.set_terminated(logger.run_id, status="KILLED")


@contextmanager
def _failures_named(name: str, what: str, place: str) -> Iterator[None]:
    """Print a warning if a logger fails: the run does not depend on it.

    Args:
        name: of the logger.
        what: is not recorded.
        place: where the run itself keeps that.
    """
    try:
        yield
    except Exception as error:  # of any package, server or network
        if isinstance(error, EarlyEnd) or disk_is_full(error):
            raise
        verb = "is" if what == "end" else "are"
        print_line(
            f"warning: logger={name} did not record the {what}, which {verb} in "
            f"{place}: {with_class(error)}"
        )


def _log_final(
    logger: Logger,
    settings: dict[str, Any],
    metrics: dict[str, float],
    scores: Mapping[str, float],
    images: Mapping[str, bytes],
) -> None:
    group = "final"
    if isinstance(logger, TensorBoardLogger):
        group = TENSORBOARD_GROUP
    final = {f"{group}/{name}": metrics[name] for name in reversed(metrics)}
    if isinstance(logger, TensorBoardLogger):
        logger.log_hyperparams(settings, final)
        more = {f"{TENSORBOARD_SCORES}/{name}": scores[name] for name in scores}
        logger.log_metrics(more, step=0)
        for name, png in images.items():
            record_png(logger, f"{TENSORBOARD_GROUP}/{name}", png)
    elif not isinstance(logger, CSVLogger):  # its columns are those of an epoch
        logger.log_hyperparams(settings)
        logger.log_metrics(final | {f"{group}/{name}": scores[name] for name in scores})
    logger.finalize("success")


def close_loggers() -> None:
    """End the records that loggers keep open for the whole process.

    Otherwise the next run of a sweep would write into the record of this one.
    """
    wandb_package = sys.modules.get("wandb")
    if wandb_package is not None and wandb_package.run is not None:
        wandb_package.finish()


def hyperparameters(config: dict[str, Any]) -> dict[str, int | float | str]:
    """One row of a table of hyperparameters.

    TensorBoard shows the first columns in the order of their names, so the settings
    that most comparisons are about have short names. The first column holds all others
    that are not as in conf/.
    """
    choices = config["choices"]
    changed = [f"{key}={value}" for key, value in changed_settings(config).items()]
    row: dict[str, int | float | str] = {
        "changed": " ".join(changed),
        "norm": choices["norm"],
    }
    if "lr" in config["optimizer"]:
        row["lr"] = config["optimizer"]["lr"]
    row["seed"] = config["seed"]
    for group in ("dataset", "model", "optimizer", "scheduler", "device"):
        row[f"settings/{group}"] = choices[group]
    for group in ("dataset", "model", "optimizer", "trainer"):
        for key, value in config[group].items():
            if isinstance(value, int | float | str) and not key.startswith("_"):
                row[f"settings/{group}.{key}"] = value
    return row


def changed_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Settings that differ from the files that the configuration is made of.

    What every run is named by, the learning rate and the seed, is not among them, nor
    is what cannot change a result.

    Args:
        config: the resolved configuration.
    """
    keys = dict(general_keys())
    for group, choice in config["choices"].items():
        if choice is not None and has_option(group, choice):
            keys |= read_option(group, choice).keys
    changed = {}
    for name, key in keys.items():
        is_fixed = "${" not in key.default and key.default != ""
        is_relevant = name.partition(".")[0] not in NOT_PART_OF_THE_RESULT
        if not is_fixed or not is_relevant or name in ("seed", "optimizer.lr"):
            continue
        present, value = look_up(config, name)
        if present and value != _default(key):
            changed[name] = value
    return changed


@cache
def _default(key: Key) -> Any:
    """The default of a key, by Hydra's reading, for which 1e-5 is a number."""
    content = OmegaConf.to_container(OmegaConf.create(f"value: {key.default}"))
    assert isinstance(content, dict)
    return content["value"]
