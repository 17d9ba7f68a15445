"""Train a prepared run, score its best state, and describe both for its result."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from normlab.checksums import BEST_CHECKPOINT, archive_digest, best_checkpoint
from normlab.config.stored_plan import started_plan
from normlab.data.blocks import EvaluationBlocks
from normlab.data.digests import data_digest
from normlab.data.stored_inputs import INPUTS
from normlab.device.devices import (
    describe_device,
    evaluation_context,
    scoring_device,
    set_threads,
)
from normlab.loggers import log_final, unknown_metrics
from normlab.results import environment, json_bytes, without_password, write_files
from normlab.sharing import shared
from normlab.training.checkpoint_files import save
from normlab.training.display import print_start
from normlab.training.evaluation import evaluate
from normlab.training.final_scores import (
    SCORED_PARTS,
    find_mistakes,
    mistake_files,
    numbers_of,
    score_outputs,
)
from normlab.training.fit import fit, prepare_and_fit
from normlab.training.predictions import prediction_files, predictions_by_part
from normlab.training.preparation import Prepared, describe_network
from normlab.training.processes import fit_in_processes
from normlab.training.scores import Outputs
from normlab.training.stored_state import check_stored_state

# Libyaml, if PyYAML was built with it, writes the same text in a tenth of the time.
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def train(config: dict, prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Train from the start or from the last checkpoint, and score the best state.

    Args:
        config: a resolved configuration.
        prepared: the objects of the run.
        folder: the run folder.

    Returns:
        what training adds to a result, see `normlab.training.experiment.run`.
    """
    device = prepared.device
    set_threads(device.threads, prepared.flops)
    inputs = {folder / INPUTS: json_bytes(prepared.inputs)}
    write_files(origin_files(config, device.accelerator, folder) | inputs)
    # Networks from libraries say what became of their norms.
    norm_report = getattr(prepared.task.network, "norm_report", [])
    if config["progress"]:
        print_start(prepared.cautions, norm_report)

    if device.devices > 1:
        outcome = fit_in_processes(prepare_and_fit, config, folder, device.devices)
    else:
        # Here, so that training and scoring share one copy on the device.
        parts = prepared.parts.to(scoring_device(device.accelerator))
        prepared = replace(prepared, parts=parts)
        outcome = fit(config, prepared, folder)

    result = _describe(outcome) | describe_network(prepared)
    # With it, the test part is the training part.
    overfit_batches = config["trainer"].get("overfit_batches")
    result["data_digest"] = shared(
        "digest",
        [config["dataset"]["load"], overfit_batches],
        partial(data_digest, prepared.stored),
    )
    if prepared.parts.class_names:
        result["classes"] = list(prepared.parts.class_names)
    if outcome["stacked"] is not None:
        result["stacked"] = outcome["stacked"]
    if outcome["draws_together"]:
        result["dropout_stream"] = "of the stack"
    if outcome["compiled_stack"]:
        result["compiled_stack"] = True
    result["cautions"] = prepared.cautions
    result["norm_report"] = [asdict(swap) for swap in norm_report]
    if outcome["diverged"]:
        unknown = unknown_metrics(prepared.task.metric_names)
        log_final(config, folder, "diverged", unknown)
        return result | {"status": "diverged"} | outcome["diverged"]

    result |= _store_and_score(config, prepared, outcome["best"], folder)
    return result | _divergence_in(result["metrics"], result["steps"])


def _store_and_score(
    config: dict, prepared: Prepared, best: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Write the checkpoint of the best state, and score that state.

    Args:
        config: a resolved configuration.
        prepared: the objects of the run.
        best: the best state, see `Checkpoints`.
        folder: the run folder, which also gets the predictions.

    Returns:
        the digest of the checkpoint, the metrics and the scores.
    """
    state = {"run": folder.name, "network": best["network"], "epoch": best["epoch"]}
    path = best_checkpoint(folder)
    save(path, state)
    digest = archive_digest(path)
    outputs = {name: Outputs() for name in SCORED_PARTS}
    metrics = score_best(prepared, best["network"], outputs)
    check_stored_state(config, prepared, path)

    task = prepared.task
    stored = prepared.stored
    scores, images = score_outputs(task, stored, outputs)
    predicted = predictions_by_part(task, outputs)
    options = config.get("scores", {})
    mistakes = find_mistakes(stored, predicted, options.get("mistakes", 0))
    files = mistake_files(mistakes, folder)
    if options.get("predictions", True):
        files |= prediction_files(stored, predicted, folder)
    write_files(files)
    for part, picture in mistakes.pictures.items():
        images[f"mistakes of {part}"] = picture
    log_final(config, folder, "finished", metrics, numbers_of(scores), images)
    return {BEST_CHECKPOINT: digest, "metrics": metrics, "scores": scores}


def origin_files(config: dict, accelerator: str, folder: Path) -> dict[Path, bytes]:
    """The files with the resolved configuration and with where the run comes from.

    A run that is resumed keeps the plan of the study that has started it.

    Args:
        config: a resolved configuration.
        accelerator: `device.accelerator` of the configuration.
        folder: the run folder.
    """
    plan = started_plan(folder) or config.get("plan")
    logger = _without_passwords(config.get("logger"))
    stored = config | {"trial": None, "plan": plan, "logger": logger}
    origin = environment(describe_device(accelerator))
    return {
        folder / "config.yaml": as_yaml(stored).encode(),
        folder / "environment.json": json_bytes(origin),
    }


def _without_passwords(value: Any) -> Any:
    """Settings in which addresses have no password."""
    if isinstance(value, dict):
        return {key: _without_passwords(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return list(map(_without_passwords, value))
    return without_password(value) if isinstance(value, str) else value


def as_yaml(settings: dict[str, Any]) -> str:
    """A YAML document; runs that share their work write equal settings once."""
    texts: list[str] = []
    for key, value in settings.items():
        part = {key: value}
        texts.append(shared("yaml", part, partial(_dumped, part)))
    return "".join(texts)


def _dumped(settings: dict[str, Any]) -> str:
    text: str = yaml.dump(settings, Dumper=DUMPER, sort_keys=False)
    return text


def score_best(
    prepared: Prepared,
    network_state: dict[str, Any],
    outputs: Mapping[str, Outputs] | None = None,
) -> dict[str, float]:
    """Score every part with the best state: weights and buffers.

    Args:
        prepared: the objects of the run.
        network_state: the `state_dict` of its network.
        outputs: collects the outputs of some parts, by name.

    Returns:
        metrics by part and name, such as `test/accuracy`.
    """
    device = scoring_device(prepared.device.accelerator)
    context = evaluation_context(prepared.device.precision, device)
    task = prepared.task
    task.network.load_state_dict(network_state)
    task.to(device)  # with the weights of classes and the buffers of a loss

    metrics = {}
    for part_name, part in prepared.parts.to(device).by_name.items():
        kept = (outputs or {}).get(part_name)
        scores = evaluate(task, EvaluationBlocks(part), context, kept)
        for name, value in scores.items():
            metrics[f"{part_name}/{name}"] = value
    return metrics


def _describe(outcome: dict[str, Any]) -> dict[str, Any]:
    """The part of a result that `fit` knows."""
    progress = outcome["progress"]
    best = outcome["best"]
    metrics = {name: value for name, value in best["metrics"].items() if name != "lr"}
    return {
        "status": "finished",
        "reason": None,
        "metrics": metrics,
        "seconds": progress["seconds"],
        "processor_seconds": progress["processor_seconds"],
        "peak_memory_mib": progress["peak_memory_mib"],
        "peak_device_memory_mib": progress["peak_device_memory_mib"],
        "ended_by": outcome["ended_by"],
        "num_averaged": outcome["num_averaged"],
        "epochs": progress["epoch"],
        "best_epoch": best["epoch"],
        "steps": progress["steps"],
        **outcome["speed"],
    }


def _divergence_in(metrics: dict[str, float], steps: int) -> dict[str, Any]:
    """What a result says if the losses in training were finite and the scores are not.

    Args:
        metrics: from `score_best`.
        steps: number of optimizer steps made.

    Returns:
        an empty dict if the losses of training and validation are finite.
    """
    for name in ("train/loss", "val/loss"):
        if not math.isfinite(metrics[name]):
            return {
                "status": "diverged",
                "reason": f"{name} of the best state is {metrics[name]}",
                "diverged_at_step": steps,
            }
    return {}
