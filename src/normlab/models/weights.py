"""Stored weights: from the library's download or from a local file, checked before they are used."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
SHOWN = 4  # differing keys that an error names


def stored_weights(
    pretrained: bool | str, download: Callable[[], T]
) -> T | Mapping[str, Tensor]:
    """The weights that `pretrained` asks for.

    Args:
        pretrained: True to download, or the path of a file that `torch.save` wrote.
        download: fetches the library's weights, or its network with them.

    Raises:
        ValueError: no network, no such file, or no state dict in it.
    """
    if pretrained is not True:
        return weights_from_file(pretrained)
    try:
        return download()
    except (OSError, RuntimeError) as error:
        reason = (
            str(error).strip().splitlines()[0]
            if str(error).strip()
            else type(error).__name__
        )
        raise ValueError(
            f"model.pretrained=true: the weights could not be downloaded ({reason}); "
            "download the file elsewhere and set model.pretrained=PATH"
        ) from error


def weights_from_file(path: str | Path) -> Mapping[str, Tensor]:
    """A state dict read from a file as tensors only, never as code.

    Raises:
        ValueError: no such file, not a file of tensors, no state dict in it, or a value that is not finite.
    """
    if not (isinstance(path, str | Path) and Path(path).is_file()):
        raise ValueError(
            f"model.pretrained must be false, true or the path of a weights file; {path} is no file"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # other files make torch's unpickler raise whatever they happen to meet
        raise ValueError(
            f"model.pretrained={path} is not a weights file that torch.save wrote, or is damaged"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not (isinstance(content, Mapping) and all(map(_is_weight, content.items()))):
        raise ValueError(
            f"model.pretrained={path} holds {type(content).__name__}, not a state dict of tensors"
        )
    for key, value in content.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(
                f"model.pretrained={path}: {key} holds values that are not finite; take other weights"
            )
    return content


def untrained_cautions(model: dict) -> list[str]:
    """A sentence where a model keeps layers as they are that were never trained."""
    if not model.get("freeze") or model.get("pretrained", True):
        return []
    return [
        f"model.freeze={model['freeze']} with model.pretrained=false keeps random weights as they are, the rest learns "
        f"from what they make of the data; pretrained ones are model.pretrained=true or a path"
    ]


def _is_weight(entry: tuple[object, object]) -> bool:
    return isinstance(entry[0], str) and isinstance(entry[1], Tensor)


def check_architecture(
    stored: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    name: str,
    pretrained: bool | str,
    exact: bool = False,
) -> None:
    """Refuse weights of another architecture.

    Args:
        stored: the state dict at hand.
        expected: tensors by key that it must hold, with their shapes.
        name: of the architecture.
        pretrained: where they come from, as in `stored_weights`.
        exact: also refuse tensors that are not expected.

    Raises:
        ValueError: names the first keys that are missing or differ in shape, and those that are not expected.
    """
    wrong = []
    for key, tensor in expected.items():
        if key not in stored:
            wrong.append(f"{key} {tuple(tensor.shape)} is missing")
        elif stored[key].shape != tensor.shape:
            wrong.append(
                f"{key} is {tuple(stored[key].shape)} instead of {tuple(tensor.shape)}"
            )
    source = f"model.pretrained={'true' if pretrained is True else pretrained}"
    unexpected = [
        f"{key} {tuple(value.shape)}"
        for key, value in stored.items()
        if key not in expected
    ]
    if exact and unexpected and not wrong:
        raise ValueError(
            f"{source}: not the weights of {name}, which has no {', '.join(unexpected[:SHOWN])}"
        )
    if wrong:
        has = f"; the file has {', '.join(unexpected[:SHOWN])}" if unexpected else ""
        raise ValueError(
            f"{source}: not the weights of {name}: {'; '.join(wrong[:SHOWN])}{has}"
        )


def shared_input(weight: Tensor, channels: int) -> Tensor:
    """A convolution's weight for another number of inputs: their sum, shared out.

    A gray image gives what it gave as three equal channels.

    Args:
        weight: ``(out, in, *kernel)``.
        channels: inputs wanted.
    """
    if weight.shape[1] == channels:
        return weight
    return (
        weight.sum(1, keepdim=True).expand(-1, channels, *weight.shape[2:]) / channels
    )
