"""Where a run's numbers go besides its own `metrics.csv`: `logger=[tensorboard,wandb]`, one function each."""

import math
import sys
from collections.abc import Iterable
from csv import DictReader
from importlib.util import find_spec
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment

from normlab.config.identity import run_name
from normlab.config.targets import build
from normlab.endings import disk_is_full

PACKAGES = ("wandb", "mlflow", "aim")  # loggers that need a package of their name


def check_loggers(config: dict) -> None:
    """Refuse loggers whose package is not installed.

    Raises:
        ValueError: names the package.
    """
    for name in config.get("logger") or {}:
        if name in PACKAGES and find_spec(name) is None:
            raise ValueError(
                f"logger={name} needs the package {name}, which is not installed: pip install {name}"
            )


def build_loggers(config: dict, folder: Path) -> list[Logger]:
    """The loggers of a configuration.

    Args:
        config: a resolved configuration; `logger` names functions of this module, or others that take `folder` and
            `name` and return a Lightning logger.
        folder: of the run.
    """
    named = (config.get("logger") or {}).values()
    return [build(options)(folder=folder, name=run_name(config)) for options in named]


def tensorboard(folder: Path, name: str = "") -> TensorBoardLogger:
    """Events in the run folder itself, so that TensorBoard shows the run by its name."""
    # By default, more than ten numbers at once wait for the thread that writes them.
    return TensorBoardLogger(
        folder, name="", version="", default_hp_metric=False, max_queue=1000
    )


class _RowsThatGoOn(ExperimentWriter):
    """Lightning's begins the file anew, with a warning; a run that goes on keeps the rows of its checkpoint."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with open(path, newline="") as file:
                self.metrics_keys = list(DictReader(file).fieldnames or [])


class _ResumedCSVLogger(CSVLogger):
    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            self._experiment = _RowsThatGoOn(self.log_dir)
        return self._experiment


def csv(folder: Path, name: str) -> CSVLogger:
    """Lightning's own CSV files, in `csv/`; an interrupted run goes on in the same file."""
    return _ResumedCSVLogger(folder, name="", version="csv")


def wandb(folder: Path, name: str, project: str, offline: bool) -> Logger:
    """Weights & Biases; an interrupted run goes on in the same record (offline in another part of it)."""
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    options = {
        "name": name,
        "id": folder.name[-80:],
        "project": project,
        "save_dir": folder,
        "offline": offline,
    }
    return WandbLogger(**options, resume="allow", experiment=wandb.run)


def mlflow(folder: Path, name: str, tracking_uri: str | None) -> Logger:
    """MLflow, the run's group as its experiment; an interrupted run goes on in the same record."""
    from pytorch_lightning.loggers import MLFlowLogger

    group, _, run = name.partition("/")
    uri = tracking_uri or f"sqlite:///{(folder.parents[1] / 'mlflow.db').absolute()}"
    record = folder / "mlflow_run_id"
    run_id = record.read_text() if record.is_file() else None
    logger = MLFlowLogger(
        experiment_name=group, run_name=run, tracking_uri=uri, run_id=run_id
    )
    if run_id is None:
        record.write_text(logger.run_id)
    return logger


def aim(folder: Path, name: str, repo: str | None) -> Logger:
    """Aim, the run's group as its experiment; an interrupted run goes on in the same record."""
    from aim.pytorch_lightning import AimLogger

    group, _, run = name.partition("/")
    record = folder / "aim_run_hash"
    run_hash = record.read_text() if record.is_file() else None
    options = {
        "repo": repo or str(folder.parents[1]),
        "experiment": group,
        "system_tracking_interval": None,
    }
    logger = AimLogger(**options, run_name=run, run_hash=run_hash)
    if run_hash is None:
        record.write_text(logger.experiment.hash)
    return logger


def unknown_metrics(names: Iterable[str]) -> dict[str, float]:
    """All final metrics of a run that has none: TensorBoard takes the table's columns from any one run."""
    return {
        f"{part}/{name}": math.nan
        for part in ("train", "val", "test")
        for name in reversed(tuple(names))
    }


def log_final(
    config: dict, folder: Path, status: str, metrics: dict[str, float]
) -> None:
    """The settings that make a run what it is, with its status and final metrics, in every logger that the run has.

    A logger that fails is named on standard error: the run is trained, and its result does not depend on it.
    """
    settings = hyperparameters(config) | {"status": status}
    final = {f"final/{name}": metrics[name] for name in reversed(metrics)}
    for name, options in (config.get("logger") or {}).items():
        try:
            _log_final(
                build(options)(folder=folder, name=run_name(config)),
                folder,
                settings,
                final,
            )
        except Exception as error:  # of any package, server or network
            if disk_is_full(error):
                raise
            reason = str(error).partition("\n")[0]
            print(
                f"warning: logger={name} has not got the final metrics, result.json has: "
                f"{type(error).__name__}: {reason}",
                file=sys.stderr,
            )


def _log_final(
    logger: Logger, folder: Path, settings: dict, final: dict[str, float]
) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.log_hyperparams(settings, final)
        (folder / logger.NAME_HPARAMS_FILE).unlink(
            missing_ok=True
        )  # config.yaml says it all
    elif not isinstance(logger, CSVLogger):  # whose columns are those of an epoch
        logger.log_hyperparams(settings)
        logger.log_metrics(final)
    logger.finalize("success")


def close_loggers() -> None:
    """End what loggers keep for the whole process, or the next run of a sweep would write into this one's record."""
    if (package := sys.modules.get("wandb")) is not None and package.run is not None:
        package.finish()


def hyperparameters(config: dict) -> dict[str, int | float | str]:
    """One row of a hyperparameter table.

    TensorBoard's shows the first columns by name: what most comparisons are about has short names.
    """
    choices = config["choices"]
    table = {name: choices[name] for name in ("dataset", "model", "norm")}
    table |= {"lr": config["optimizer"]["lr"]} if "lr" in config["optimizer"] else {}
    table["seed"] = config["seed"]
    for group in ("optimizer", "scheduler", "device"):
        table[f"settings/{group}"] = choices[group]
    for group in ("dataset", "model", "optimizer", "trainer"):
        plain = {
            key: value
            for key, value in config[group].items()
            if isinstance(value, int | float | str)
        }
        table |= {
            f"settings/{group}.{key}": value
            for key, value in plain.items()
            if not key.startswith("_")
        }
    return table
