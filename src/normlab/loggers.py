"""Where a run's numbers go besides its own `metrics.csv`: `logger=[tensorboard,wandb]`, one function each."""

import math
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from normlab.build import build
from normlab.config import run_name

PACKAGES = ("wandb", "mlflow", "aim")  # loggers that need a package of their name


def check_loggers(config: dict) -> None:
    """Refuse loggers whose package is not installed.

    Raises:
        ValueError: names the package.
    """
    for name in config.get("logger") or {}:
        if name in PACKAGES and find_spec(name) is None:
            raise ValueError(f"logger={name} needs the package {name}, which is not installed: pip install {name}")


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
    return TensorBoardLogger(folder, name="", version="", default_hp_metric=False, max_queue=1000)


def csv(folder: Path, name: str) -> CSVLogger:
    """Lightning's own CSV files, in `csv/`."""
    return CSVLogger(folder, name="", version="csv")


def wandb(folder: Path, name: str, project: str, offline: bool) -> Logger:
    """Weights & Biases; an interrupted run goes on in the same record."""
    from pytorch_lightning.loggers import WandbLogger

    return WandbLogger(
        name=name, id=folder.name[-80:], project=project, save_dir=folder, offline=offline, resume="allow"
    )


def mlflow(folder: Path, name: str, tracking_uri: str | None) -> Logger:
    """MLflow, the run's group as its experiment; an interrupted run goes on in the same record."""
    from pytorch_lightning.loggers import MLFlowLogger

    group, _, run = name.partition("/")
    uri = tracking_uri or f"sqlite:///{(folder.parents[1] / 'mlflow.db').absolute()}"
    record = folder / "mlflow_run_id"
    run_id = record.read_text() if record.is_file() else None
    logger = MLFlowLogger(experiment_name=group, run_name=run, tracking_uri=uri, run_id=run_id)
    if run_id is None:
        record.write_text(logger.run_id)
    return logger


def aim(folder: Path, name: str, repo: str | None) -> Logger:
    """Aim, the run's group as its experiment; an interrupted run goes on in the same record."""
    from aim.pytorch_lightning import AimLogger

    group, _, run = name.partition("/")
    record = folder / "aim_run_hash"
    run_hash = record.read_text() if record.is_file() else None
    options = {"repo": repo or str(folder.parents[1]), "experiment": group, "system_tracking_interval": None}
    logger = AimLogger(**options, run_name=run, run_hash=run_hash)
    if run_hash is None:
        record.write_text(logger.experiment.hash)
    return logger


def unknown_metrics(names: Iterable[str]) -> dict[str, float]:
    """All final metrics of a run that has none: TensorBoard takes the table's columns from any one run."""
    return {f"{part}/{name}": math.nan for part in ("train", "val", "test") for name in reversed(tuple(names))}


def log_final(config: dict, folder: Path, status: str, metrics: dict[str, float]) -> None:
    """The settings that make a run what it is, with its status and final metrics, in every logger that the run has."""
    settings = hyperparameters(config) | {"status": status}
    for logger in build_loggers(config, folder):
        final = {f"final/{name}": metrics[name] for name in reversed(metrics)}
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(settings, final)
            (folder / logger.NAME_HPARAMS_FILE).unlink(missing_ok=True)  # config.yaml says it all
        elif not isinstance(logger, CSVLogger):  # which would begin its file anew
            logger.log_hyperparams(settings)
            logger.log_metrics(final)
        logger.finalize("success")


def hyperparameters(config: dict) -> dict[str, int | float | str]:
    """One row of a hyperparameter table.

    TensorBoard's shows the first columns by name: what most comparisons are about has short names.
    """
    choices = config["choices"]
    table = {name: choices[name] for name in ("dataset", "model", "norm")}
    table |= {"lr": config["optimizer"]["lr"], "seed": config["seed"]}
    for group in ("optimizer", "scheduler", "device"):
        table[f"settings/{group}"] = choices[group]
    for group in ("dataset", "model", "optimizer", "trainer"):
        plain = {key: value for key, value in config[group].items() if isinstance(value, int | float | str)}
        table |= {f"settings/{group}.{key}": value for key, value in plain.items() if not key.startswith("_")}
    return table
