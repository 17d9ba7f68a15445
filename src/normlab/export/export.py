"""Export the network of a stored run, and compare the file with the network."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from normlab.data.notes import note_once
from normlab.evaluation.evaluate import read_stored, stored_parts
from normlab.export.folding import Fold, fold_norms
from normlab.export.formats import ENDINGS, INPUT, OUTPUT, WRITE, check_packages
from normlab.messages import first_line
from normlab.mistakes import MISTAKES, explain
from normlab.predict.bounds import samples_per_batch
from normlab.predict.predictor import Predictor, load_predictor
from normlab.predict.sources import open_source
from normlab.results import written_whole

MOST_SAMPLES = 64
TOLERANCE = 1e-3  # relative; other libraries add in another order


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how it compares with the network.

    Attributes:
        path: of the file.
        input_shape: shape of a sample, without the batch axis.
        num_outputs: numbers in an output.
        classes: names of the outputs; empty for a regression.
        samples: how many samples were compared, and which.
        largest_difference: between outputs of the file and of the network.
        same_class: share of the samples with the same class; None for a regression.
        folds: what became of each norm, if norms were to be folded.
    """

    path: Path
    input_shape: tuple[int, ...]
    num_outputs: int
    classes: tuple[str, ...]
    samples: str
    largest_difference: float
    same_class: float | None
    folds: list[Fold] = field(default_factory=list)


def export_run(
    folder: Path,
    form: str,
    out: Path | None = None,
    fold: bool = False,
    samples: Path | None = None,
    trusted: Sequence[str] = (),
) -> Exported:
    """Write the best network of a run, and check the file.

    The network takes inputs as `Predictor.inputs` prepares them, which is described in
    the metadata of the file, and returns what it returns in PyTorch.

    Args:
        folder: the run folder.
        form: `onnx`, `torch_export` or `safetensors`.
        out: the file; None for `model` in the run folder, with the usual ending.
        fold: fold batch norms into the layers before them.
        samples: what the file is compared on, as for `predict`; None takes test samples
            of the run, or random ones if its data set is gone.
        trusted: packages of the user's own that the run may call.

    Raises:
        ValueError: the run cannot be loaded, a package is missing, the network cannot
            be exported, or the file computes something else. No file is written, and an
            older one is unchanged.
    """
    if form not in WRITE:
        raise ValueError(f"form must be one of {', '.join(WRITE)}, got {form!r}")
    check_packages(form)
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"out must be a file in a folder that exists, got {out}")
    predictor = load_predictor(folder, trusted)
    inputs, which = _inputs(predictor, folder, samples, trusted)
    network = predictor.network
    folds: list[Fold] = []
    if fold:
        network, folds = fold_norms(network, inputs[:2])
    with torch.no_grad():
        expected = predictor.network(inputs)
    path = out or folder / f"model{ENDINGS[form]}"
    with written_whole(path, follow_links=out is not None) as temporary:
        metadata = _metadata(predictor, folder)
        found = _written(temporary, form, network, inputs, metadata)
        difference = _checked_difference(expected, found)
    same = None
    if predictor.classes:
        same = expected.argmax(1).eq(found.argmax(1)).float().mean().item()
    return Exported(
        path=path,
        input_shape=predictor.inputs.input_shape,
        num_outputs=predictor.inputs.num_outputs,
        classes=predictor.classes,
        samples=f"{len(inputs)} {which}",
        largest_difference=difference,
        same_class=same,
        folds=folds,
    )


def _checked_difference(expected: Tensor, found: Tensor) -> float:
    """The largest difference between the outputs of the network and of the file.

    Raises:
        ValueError: it is more than rounding.
    """
    difference = float((expected - found).abs().max())
    largest = max(float(expected.abs().max()), 1e-30)
    if not difference <= TOLERANCE * largest:
        raise ValueError(
            f"the file must compute what the network computes, its outputs differ by "
            f"up to {difference:.2g}, and the largest output is {largest:.2g}; it was "
            f"not kept"
        )
    return difference


def _written(
    path: Path, form: str, network: Any, inputs: Tensor, metadata: dict[str, str]
) -> Tensor:
    """The outputs of the file that is written."""
    try:
        read = WRITE[form](path, network, inputs, metadata)
        with torch.no_grad():
            return read(inputs)
    except OSError:
        raise
    # Any type: exporters raise whatever a network that they cannot follow leads to.
    except Exception as error:
        raise ValueError(
            f"the network cannot be exported as {form}: {first_line(error)}"
        ) from error


def _metadata(predictor: Predictor, folder: Path) -> dict[str, str]:
    """What a program must know to use the file; texts, of which most are JSON."""
    inputs = predictor.inputs
    images = None
    if inputs.transform is not None:
        images = {
            "mean": inputs.transform.mean,
            "std": inputs.transform.std,
            "size": inputs.transform.size,
        }
    values = {
        "classes": predictor.classes,
        "input_name": INPUT,
        "input_shape": ["batch", *inputs.input_shape],
        "output_name": OUTPUT,
        "output_shape": ["batch", inputs.num_outputs],
        "images": images,
        "columns": inputs.columns,
        "target": inputs.target,
    }
    run = str(read_stored(folder).get("run", folder.name))
    return {"run": run} | {name: json.dumps(value) for name, value in values.items()}


def _inputs(
    predictor: Predictor, folder: Path, samples: Path | None, trusted: Sequence[str]
) -> tuple[Tensor, str]:
    """Inputs of the network on which the file is compared, and what they are."""
    inputs = predictor.inputs
    size = samples_per_batch(math.prod(inputs.input_shape), inputs.num_outputs)
    count = max(2, min(MOST_SAMPLES, size))
    if samples is not None:
        source = open_source(samples, predictor, unlabelled=True)
        stored = next(source.batches()).samples[:count]
        return inputs.prepared(stored).clone(), f"samples of {samples}"
    try:
        part = stored_parts(folder, trusted).test
        return inputs.prepared(part.inputs[part.rows[:count]]).clone(), "test samples"
    except (*MISTAKES, OSError) as error:
        note_once(
            f"the file is compared on random numbers, since the data set of the run "
            f"cannot be read: {explain(error)}"
        )
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(count, *inputs.input_shape, generator=generator)
    return random, "samples of random numbers"
