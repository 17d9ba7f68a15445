"""Write a network as ONNX, as a graph of torch.export, or as safetensors."""

import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from normlab.results import write_atomically

INPUT = "inputs"
OUTPUT = "outputs"
METADATA = "metadata.json"  # the name of the extra file of torch.export
PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "torch_export": (),
    "safetensors": ("safetensors",),
}
ENDINGS = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}
# A written network: inputs of the network to its outputs.
Reader = Callable[[Tensor], Tensor]


def check_packages(form: str) -> None:
    """Refuse a format whose packages are not installed.

    Raises:
        ValueError: names the packages and how to install them.
    """
    lacking = [name for name in PACKAGES[form] if find_spec(name) is None]
    if lacking:
        raise ValueError(
            f"form must be one whose packages are installed, {form} needs "
            f"{', '.join(lacking)}: pip install 'normlab[export]'"
        )


def write_onnx(
    path: Path, network: nn.Module, inputs: Tensor, metadata: dict[str, str]
) -> Reader:
    """Write an ONNX model whose batch axis is free; the metadata are its properties.

    Returns:
        The file as onnxruntime computes it on the CPU.
    """
    import onnx
    import onnxruntime

    with _quiet():
        program = torch.onnx.export(
            network,
            (inputs,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None  # it is what the new exporter returns
    model = program.model_proto
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())
    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )

    def read(samples: Tensor) -> Tensor:
        (outputs,) = session.run([OUTPUT], {INPUT: samples.numpy()})
        return torch.from_numpy(outputs)

    return read


def write_torch_export(
    path: Path, network: nn.Module, inputs: Tensor, metadata: dict[str, str]
) -> Reader:
    """Write the graph of `torch.export`, whose batch axis is free.

    Returns:
        The file as torch reads it.
    """
    content = io.BytesIO()
    if len(inputs) == 1:  # torch takes an axis of this size for a fixed one
        inputs = torch.cat([inputs, inputs])
    with _quiet():
        shapes = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(network, (inputs,), dynamic_shapes=shapes)
        files: dict[str, Any] = {METADATA: json.dumps(metadata)}
        torch.export.save(program, content, extra_files=files)
        write_atomically(path, content.getbuffer())
        read: Reader = torch.export.load(path).module()
    return read


def write_safetensors(
    path: Path, network: nn.Module, inputs: Tensor, metadata: dict[str, str]
) -> Reader:
    """Write weights and buffers by their names, without the network.

    Returns:
        The network with the weights of the file.
    """
    from copy import deepcopy

    from safetensors.torch import load_file, save

    state = {}
    for name, value in network.state_dict().items():
        state[name] = value.detach().cpu().contiguous().clone()
    write_atomically(path, save(state, metadata))
    copy = deepcopy(network)
    copy.load_state_dict(load_file(path))
    return copy


WRITE = {
    "onnx": write_onnx,
    "torch_export": write_torch_export,
    "safetensors": write_safetensors,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what exporters say about their own parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def file_size(path: Path) -> str:
    """The size of a file for people."""
    return f"{os.path.getsize(path) / 2**20:.1f} MiB"
