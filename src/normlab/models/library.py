"""Any classifier of torchvision or timm, with its norms swapped."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from normlab.models.biases import inserted_weights, set_bias, weights_before_norms
from normlab.models.blocks import choose, image_shape
from normlab.models.recognize import looks_like_norm
from normlab.models.swap import WEIGHTS, Swap, insert_norms, replace_norms
from normlab.models.weights import (
    check_architecture,
    shared_input,
    stored_weights,
    weights_from_file,
)

Norm = Callable[[int, int], nn.Module]


class TorchvisionModel(nn.Module):
    """A classifier of torchvision by its name, with `norm` in place of its norms, or behind its weights.

    The first convolution is adapted to the number of channels and the last layer to the number of outputs.
    `norm_report` holds what happened to each norm. Inputs ``(N, C, H, W)``, outputs ``(N, num_outputs)``.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: classes, or numbers to predict.
        norm: called as ``norm(num_features, dim)``.
        name: as in `torchvision.models.list_models()`, such as resnet50.
        norms: replace those that are there, insert them behind weights, or auto: replace if there are any, else insert.
        pretrained: true for torchvision's default weights, or the path of a file with the same keys; in both the
            layers that change their shape start anew (output) or are averaged over their inputs (first convolution).
        bias: of the layers of weights whose output a norm gets directly; null leaves them as torchvision has them.
        options: further arguments of torchvision's function.

    Raises:
        ValueError: no images or too small ones, unknown name, weights that do not fit, no norms to replace, `bias`
            for a network that has no such layers.
    """

    min_image_size = 32

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        name: str = "resnet18",
        norms: str = "auto",
        pretrained: bool | str = False,
        bias: bool | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        from torchvision import models

        super().__init__()
        channels, height, _ = image_shape(type(self), input_shape)
        choose("model.name", name, models.list_models(module=models))
        options = torchvision_defaults(name, height) | dict(options or {})
        self.network = build_torchvision(name, num_outputs, pretrained, options)
        adapt_input(self.network, channels, pretrained is not False)
        called = f"torchvision's {name}"
        before = (
            []
            if bias is None
            else weights_before_norms(self.network, input_shape, called)
        )
        self.norm_report = swap_norms(self.network, norm, norms, called)
        if bias is not None:
            before += inserted_weights(self.network, self.norm_report)
            set_bias(before, bias, pretrained is not False, called)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class TimmModel(nn.Module):
    """A classifier of timm by its name, with `norm` in place of its norms, or behind its weights.

    timm itself adapts the first convolution, the last layer and, for transformers, the image size. `norm_report`
    holds what happened to each norm. Inputs ``(N, C, H, W)``, outputs ``(N, num_outputs)``.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: classes, or numbers to predict.
        norm: called as ``norm(num_features, dim)``.
        name: as in `timm.list_models()`, such as convnext_atto.
        norms: replace those that are there, insert them behind weights, or auto: replace if there are any, else insert.
        pretrained: true for timm's default weights, or the path of a file with the same keys.
        bias: of the layers of weights whose output a norm gets directly; null leaves them as timm has them.
        options: further arguments of `timm.create_model`. Without `zero_init_last` among them every norm of a fresh
            network starts at scale 1.

    Raises:
        ValueError: timm is not installed, no images or too small ones, unknown name, weights that do not fit, no
            norms to replace, `bias` for a network that has no such layers.
    """

    min_image_size = 32

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        name: str = "resnet18",
        norms: str = "auto",
        pretrained: bool | str = False,
        bias: bool | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import timm
        except ImportError as error:
            raise ValueError(
                "model=timm needs timm: pip install 'normlab[timm]'"
            ) from error
        super().__init__()
        channels, height, width = image_shape(type(self), input_shape)
        choose("model.name", name.split(".")[0], timm.list_models())
        config = timm.get_pretrained_cfg(name)
        fixed = (
            {"img_size": (height, width)}
            if getattr(config, "fixed_input_size", False)
            else {}
        )
        arguments = {
            "in_chans": channels,
            "num_classes": num_outputs,
            **fixed,
            **(options or {}),
        }
        try:
            if pretrained is True:
                self.network = stored_weights(
                    True, lambda: timm.create_model(name, pretrained=True, **arguments)
                )
            else:
                self.network = timm.create_model(name, **arguments)
        except TypeError as error:
            raise ValueError(
                f"model.options do not fit timm's {name}: {error}"
            ) from error
        if isinstance(pretrained, str):
            load_file(self.network, pretrained, f"timm's {name}")
        elif pretrained is False and "zero_init_last" not in arguments:
            scales_to_one(self.network)
        called = f"timm's {name}"
        before = (
            []
            if bias is None
            else weights_before_norms(self.network, input_shape, called)
        )
        self.norm_report = swap_norms(self.network, norm, norms, called)
        if bias is not None:
            before += inserted_weights(self.network, self.norm_report)
            set_bias(before, bias, pretrained is not False, called)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


@torch.no_grad()
def scales_to_one(network: nn.Module) -> None:
    """Norms that start at scale 0, as timm's last ones of residual blocks do, start at 1.

    A block behind scale 0 gives nothing at first; without a norm it could not, and arms would start as other functions.
    """
    for layer in network.modules():
        scale = getattr(layer, "weight", None) if looks_like_norm(layer) else None
        if isinstance(scale, nn.Parameter) and not scale.is_meta and not scale.any():
            nn.init.ones_(scale)


def swap_norms(network: nn.Module, norm: Norm, how: str, name: str) -> list[Swap]:
    """Replace the norms of a network, or insert them.

    Raises:
        ValueError: `how` is unknown, or there was nothing to replace or to insert.
    """
    how = choose("model.norms", how, ["auto", "replace", "insert"])
    swaps = replace_norms(network, norm) if how != "insert" else []
    if how == "insert" or (how == "auto" and not swaps):
        swaps = insert_norms(network, norm)
    if all(swap.kind == "left alone" for swap in swaps):
        reason = f" ({swaps[0].name}: {swaps[0].why})" if swaps else ""
        advice = "take another model" if how == "auto" else "set model.norms=auto"
        raise ValueError(
            f"{name} offers no place for a norm with model.norms={how}{reason}; {advice}"
        )
    return swaps


def torchvision_defaults(name: str, image_size: int) -> dict[str, Any]:
    """Arguments without which a model would not be a plain classifier of these images."""
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": False}
    return {"image_size": image_size} if name.startswith("vit_") else {}


def build_torchvision(
    name: str, num_outputs: int, pretrained: bool | str, options: dict[str, Any]
) -> nn.Module:
    """torchvision's network with an output layer of `num_outputs`.

    Raises:
        ValueError: options that its function does not take, or weights that are missing or of another architecture.
    """
    from torchvision import models

    try:
        if pretrained is True:
            network = stored_weights(
                True, lambda: models.get_model(name, weights="DEFAULT", **options)
            )
            parent, child_name, output = last_weights(network)
            parent._modules[child_name] = like(output, num_outputs=num_outputs)
            return network
        network = models.get_model(
            name, weights=None, num_classes=num_outputs, **options
        )
    except TypeError as error:
        raise ValueError(
            f"model.options do not fit torchvision's {name}: {error}"
        ) from error
    if isinstance(pretrained, str):
        load_file(network, pretrained, f"torchvision's {name}")
    return network


def load_file(network: nn.Module, path: str, name: str) -> None:
    """Weights from a file, except for an output layer of another width and the heads that only training uses.

    Raises:
        ValueError: missing or unreadable file, or weights of another architecture.
    """
    stored, own = dict(weights_from_file(path)), network.state_dict()
    _, _, output = last_weights(network)
    parameters = {parameter: key for key, parameter in network.named_parameters()}
    for parameter in output.parameters():
        key = parameters[parameter]
        if key in stored and stored[key].shape != own[key].shape:
            stored[key] = own[key]
    kept = {
        key: value for key, value in stored.items() if not key.lower().startswith("aux")
    }
    check_architecture(kept, own, name, path, exact=True)
    network.load_state_dict(kept)


def adapt_input(network: nn.Module, channels: int, keep_weights: bool) -> None:
    """Give the first convolution `channels` inputs; trained weights are summed over theirs and shared out."""
    for parent in network.modules():
        for name, child in parent._modules.items():
            if isinstance(child, nn.Conv2d):
                if child.in_channels != channels:
                    parent._modules[name] = new = like(child, channels=channels)
                    if keep_weights:
                        new.load_state_dict(
                            child.state_dict()
                            | {"weight": shared_input(child.weight, channels)}
                        )
                return


def last_weights(network: nn.Module) -> tuple[nn.Module, str, nn.Module]:
    """Parent, name in the parent and layer of the last linear layer or convolution: the output layer."""
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent._modules.items()
        if isinstance(child, WEIGHTS)
    ]
    order = {layer: position for position, layer in enumerate(network.modules())}
    return max(found, key=lambda entry: order[entry[2]])


def like(
    layer: nn.Module, channels: int | None = None, num_outputs: int | None = None
) -> nn.Module:
    """A new layer with other inputs or outputs and otherwise the settings of `layer`."""
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(
            channels or layer.in_features, num_outputs or layer.out_features, bias
        )
    sizes = (
        channels or layer.in_channels,
        num_outputs or layer.out_channels,
        layer.kernel_size,
    )
    settings = {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
    }
    return type(layer)(*sizes, **settings, bias=bias)
