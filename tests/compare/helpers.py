"""Run folders as training writes them, without training."""

import copy
import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import yaml

CONFIG = {
    "seed": 0,
    "choices": {
        "dataset": "digits",
        "model": "mlp",
        "norm": "none",
        "optimizer": "sgd",
        "scheduler": "none",
        "device": "auto",
        "experiment": None,
        "study": None,
    },
    "task": {"loss": None, "softmax_before_loss": False},
    "reparametrize": None,
    "trainer": {
        "max_epochs": 5,
        "monitor": None,
        "patience": None,
        "gradient_clip": None,
    },
    "statistics": {"every_n_epochs": 1, "histograms": True},
    "checkpoint": {"every_seconds": 10, "every_n_steps": None},
    "group": "demo",
    "paths": {"outputs": "outputs"},
    "rerun": False,
    "retry": None,
    "progress": False,
    "trusted_packages": [],
    "dataset": {
        "name": "digits",
        "root": None,
        "task": "classification",
        "shape": [1, 8, 8],
        "batch_size": 64,
    },
    "model": {
        "_target_": "normlab.models.MLP",
        "hidden": [128, 64],
        "activation": "relu",
        "bias": True,
    },
    "norm": {"_target_": "torch.nn.Identity", "_partial_": True},
    "optimizer": {
        "_target_": "torch.optim.SGD",
        "_partial_": True,
        "lr": 0.1,
        "momentum": 0.9,
    },
    "scheduler": {"_target_": None},
    "device": {"accelerator": "auto", "threads": "auto", "precision": "32-true"},
}
NORMS = {
    "none": {"_target_": "torch.nn.Identity", "_partial_": True},
    "custom": {
        "_target_": "normlab.norms.BatchNorm",
        "_partial_": True,
        "eps": 1e-5,
        "momentum": 0.1,
    },
    "torch": {
        "_target_": "normlab.norms.torch_batch_norm",
        "_partial_": True,
        "eps": 1e-5,
        "momentum": 0.1,
    },
    "ghost": {
        "_target_": "normlab.norms.GhostBatchNorm",
        "_partial_": True,
        "size": 16,
    },
}
ENVIRONMENT = {
    "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
    "python": "3.11.7",
    "packages": {"normlab": "0.1.0", "torch": "2.15.0", "numpy": "2.4.6"},
    "device": {"accelerator": "cpu", "name": "cpu", "threads": 1},
    "platform": "Linux",
    "command": ["train.py", "-m", "norm=none,custom", "seed=range(10)"],
}


def write_run(
    outputs: Path,
    norm: str = "none",
    seed: int = 0,
    value: float | None = 0.9,
    status: str = "finished",
    settings: dict | None = None,
    metrics: dict | None = None,
    curve: list[float] | None = None,
    layers: bool = False,
    environment: dict | None = None,
    schema: int = 1,
    result: dict | None = None,
) -> Path:
    """One run folder below `outputs/<group>`.

    Args:
        outputs: the folder of groups.
        norm, seed, status: as in the configuration and the result.
        value: test and validation accuracy; None leaves them out.
        settings: further settings by dotted key, `choices.*` and `group` too.
        metrics: metrics beside the accuracies.
        curve: validation accuracy by epoch; none writes no metrics.csv.
        layers: also write statistics.csv.
        environment: replaces the origin.
        schema: of result.json.
        result: what result.json holds besides, or instead.
    """
    config = copy.deepcopy(CONFIG)
    config["seed"], config["choices"]["norm"], config["norm"] = (
        seed,
        norm,
        dict(NORMS.get(norm, NORMS["custom"])),
    )
    for key, setting in (settings or {}).items():
        *path, name = key.split(".")
        place = config
        for part in path:
            place = place.setdefault(part, {})
        place[name] = setting
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    folder = (
        outputs
        / config["group"]
        / f"{norm}-sgd-lr{config['optimizer']['lr']:g}-seed{seed}-{digest[:10]}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False)
    )
    (folder / "environment.json").write_text(json.dumps(environment or ENVIRONMENT))
    scores = (
        {} if value is None else {"val/accuracy": value - 0.01, "test/accuracy": value}
    )
    epochs = len(curve) if curve else 5
    if curve:
        _write_curve(folder, curve)
    if layers:
        _write_layers(folder, norm, seed, epochs)
    stored = {
        "schema": schema,
        "run": f"{config['group']}/{folder.name}",
        "config_digest": digest,
        "choices": config["choices"],
        "seed": seed,
        "status": status,
        "reason": {
            "diverged": "train/loss is not finite",
            "failed": "RuntimeError: no",
        }.get(status),
        "metrics": scores | (metrics or {}),
        "seconds": 1.0 + 0.01 * seed,
        "epochs": epochs,
        "best_epoch": epochs,
        "steps": 18 * epochs,
        "samples_per_second": 50_000.0,
        "num_parameters": 17_226,
        "num_norm_layers": 0 if norm == "none" else 2,
        "initial_weights": f"weights of seed {seed}",
    }
    (folder / "result.json").write_text(json.dumps(stored | (result or {})))
    return folder


def _write_curve(folder: Path, curve: list[float]) -> None:
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "epoch",
                "step",
                "seconds",
                "train/loss",
                "train/accuracy",
                "val/loss",
                "val/accuracy",
                "lr",
            ]
        )
        for epoch, value in enumerate(curve, 1):
            writer.writerow(
                [
                    epoch,
                    18 * epoch,
                    0.5 * epoch,
                    1 - value,
                    value,
                    1.1 - value,
                    value,
                    0.1,
                ]
            )


def _write_layers(folder: Path, norm: str, seed: int, epochs: int) -> None:
    random = np.random.default_rng(seed)
    with open(folder / "statistics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "layer", "statistic", "value"])
        for epoch in range(1, epochs + 1):
            for depth in range(3):
                for name, value in _layer_values(norm, depth, epoch).items():
                    noise = 0.02 * random.normal()
                    writer.writerow(
                        [
                            epoch,
                            18 * epoch,
                            f"hidden.{depth}.norm",
                            name,
                            value * (1 + noise),
                        ]
                    )


def _layer_values(norm: str, depth: int, epoch: int) -> dict[str, float]:
    wide = 1.0 if norm != "none" else 0.5 * (depth + 1) + 0.2 * epoch
    values = {
        "activation_q15": -wide,
        "activation_q50": 0.1 * wide,
        "activation_q85": wide,
        "dead_fraction": 0.02 * depth,
        "gradient_norm": 0.1 * 0.5**depth if norm == "none" else 0.05,
    }
    if norm != "none":
        values |= {
            "weight_mean": 1 + 0.02 * epoch + 0.05 * depth,
            "weight_std": 0.05 * epoch,
            "bias_mean": -0.02 * epoch,
            "bias_std": 0.03 * epoch,
            "running_mean_mean": 0.3 * epoch,
            "running_var_mean": 1 + 0.4 * epoch,
            "mean_drift": 0.4 / epoch,
            "var_drift": 0.5 / epoch,
        }
    return values


def write_seeds(outputs: Path, arms: dict[str, list[float]], **options) -> Path:
    """A run for every value of every arm, seeds from 0; returns the group's folder."""
    for norm, values in arms.items():
        for seed, value in enumerate(values):
            folder = write_run(outputs, norm, seed, value, **options)
    return folder.parent
