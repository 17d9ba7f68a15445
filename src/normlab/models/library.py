"""Any classifier of torchvision or timm, with its norms swapped."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from normlab.models.adaptation import (
    adapt_input,
    copied_with,
    last_weights,
    load_file,
    start_scales_at_one,
)
from normlab.models.biases import inserted_weights, set_bias, weights_before_norms
from normlab.models.blocks import Norm, choose, image_shape
from normlab.models.swap import Swap, insert_norms, replace_norms
from normlab.models.weights import download_weights

# Networks of torchvision that may rescale their inputs and may have auxiliary heads.
INCEPTIONS = ("googlenet", "inception_v3")
AUXILIARY_HEADS = {"aux1", "aux2", "AuxLogits"}


class TorchvisionModel(nn.Module):
    """A classifier of torchvision with its norms replaced, or with norms inserted.

    The first convolution is adapted to the number of channels, and the last layer to
    the number of outputs. Inputs are ``(N, C, H, W)``, outputs ``(N, num_outputs)``.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: number of classes, or of numbers to predict.
        norm: called as ``norm(num_features, dim)``.
        name: one of `torchvision.models.list_models()`, such as resnet50.
        norms: replace the norms that the network has, insert norms after its linear
            layers and convolutions, or auto: replace if there are any, else insert.
        pretrained: true for torchvision's default weights, or the path of a file with
            the same keys. An output layer of another width starts from new weights. A
            first convolution with another number of channels gets the sum of its
            weights over the inputs, divided among the channels. torchvision's weights
            of googlenet and inception_v3 need inputs that the network rescales, which
            it does for three channels if `options` has ``transform_input: true``. For
            these two, `options` must say whether it does.
        bias: whether the layers whose output a norm gets directly have biases; null
            leaves them as torchvision has them.
        options: further arguments of torchvision's function.

    Attributes:
        network: torchvision's network.
        norm_report: what happened to each norm or layer, see `Swap`.

    Raises:
        ValueError: the samples are no images or too small, the name is unknown, the
            weights do not fit, there are no norms to replace, `bias` was given for a
            network without such layers, or images that are to be rescaled do not have
            three channels.
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
        arguments = torchvision_defaults(name, height) | dict(options or {})
        self.network = build_torchvision(name, num_outputs, pretrained, arguments)
        if getattr(self.network, "transform_input", False) and channels != 3:
            raise ValueError(
                f"model.options.transform_input must be false for images that do not "
                f"have 3 channels, these have {channels}"
            )
        trained = pretrained is not False
        adapt_input(self.network, channels, keep_weights=trained)
        self.norm_report = swap_norms_and_biases(
            self.network,
            input_shape,
            norm,
            norms,
            bias,
            trained,
            f"torchvision's {name}",
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class TimmModel(nn.Module):
    """A classifier of timm with its norms replaced, or with norms inserted.

    timm adapts the first convolution, the last layer and, for transformers, the image
    size. Inputs are ``(N, C, H, W)``, outputs ``(N, num_outputs)``.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: number of classes, or of numbers to predict.
        norm: called as ``norm(num_features, dim)``.
        name: one of `timm.list_models()`, such as convnext_atto.
        norms: replace the norms that the network has, insert norms after its linear
            layers and convolutions, or auto: replace if there are any, else insert.
        pretrained: true for timm's default weights, or the path of a file with the same
            keys. Of a file, the output layer and the first convolution are treated as
            in `TorchvisionModel`.
        bias: whether the layers whose output a norm gets directly have biases; null
            leaves them as timm has them.
        options: further arguments of `timm.create_model`. Unless they include
            `zero_init_last`, every norm of an untrained network starts at scale 1.

    Attributes:
        network: timm's network.
        norm_report: what happened to each norm or layer, see `Swap`.

    Raises:
        ValueError: timm is not installed, the samples are no images or too small, the
            name is unknown, the weights do not fit, there are no norms to replace, or
            `bias` was given for a network without such layers.
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
            raise ValueError("model=timm needs timm: pip install timm") from error
        super().__init__()
        channels, height, width = image_shape(type(self), input_shape)
        choose("model.name", name.split(".")[0], timm.list_models())

        arguments: dict[str, Any] = {"in_chans": channels, "num_classes": num_outputs}
        if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False):
            arguments["img_size"] = (height, width)
        arguments |= options or {}
        self.network = build_timm(name, pretrained, arguments)
        self.norm_report = swap_norms_and_biases(
            self.network,
            input_shape,
            norm,
            norms,
            bias,
            pretrained is not False,
            f"timm's {name}",
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def torchvision_defaults(name: str, image_size: int) -> dict[str, Any]:
    """Return the arguments that make a network a plain classifier of these images.

    Args:
        name: of the network.
        image_size: height and width of the images, which transformers need to know.
    """
    if name in INCEPTIONS:
        return {"aux_logits": False, "init_weights": False}
    if name.startswith("vit_"):
        return {"image_size": image_size}
    return {}


def build_torchvision(
    name: str, num_outputs: int, pretrained: bool | str, options: dict[str, Any]
) -> nn.Module:
    """Build torchvision's network with an output layer for `num_outputs`.

    Args:
        name: of the network.
        num_outputs: width of the output layer.
        pretrained: true for torchvision's weights, or the path of a file with weights.
        options: further arguments of torchvision's function.

    Raises:
        ValueError: torchvision's function does not take the options, or the weights are
            missing, of another architecture, or need an option that is not given.
    """
    from torchvision.models import get_model

    if pretrained is not False:
        _require_scale(name, options)
    network: nn.Module
    try:
        if pretrained is True:
            network = download_weights(partial(_downloaded, name, options))
            output_name, output = last_weights(network)
            if len(output.weight) != num_outputs:
                new = copied_with(output, num_outputs=num_outputs)
                network.set_submodule(output_name, new)
            return network
        network = get_model(name, weights=None, num_classes=num_outputs, **options)
    except TypeError as error:
        raise ValueError(
            f"model.options do not fit torchvision's {name}: {error}"
        ) from error
    if isinstance(pretrained, str):
        load_file(network, pretrained, f"torchvision's {name}")
    return network


def _require_scale(name: str, options: dict[str, Any]) -> None:
    """Refuse weights for rescaled inputs if no option says whether they are rescaled.

    torchvision decides by the weights, and a stored run builds its network without.
    """
    if name in INCEPTIONS and "transform_input" not in options:
        raise ValueError(
            f"torchvision's weights of {name} need rescaled inputs; set "
            f"+model.options.transform_input=true for images of 3 channels, or false "
            f"to leave inputs unchanged"
        )


def _downloaded(name: str, options: dict[str, Any]) -> nn.Module:
    """Build torchvision's network with its default weights.

    torchvision loads googlenet and inception_v3 with their auxiliary heads only, which
    are removed afterwards.
    """
    from torchvision.models import get_model

    without_heads = options.get("aux_logits") is False
    if without_heads:
        options = {key: options[key] for key in options if key != "aux_logits"}
    network: Any = get_model(name, weights="DEFAULT", **options)
    if without_heads:
        network.aux_logits = False
        for head in AUXILIARY_HEADS.intersection(network._modules):
            setattr(network, head, None)
    return network


def build_timm(
    name: str, pretrained: bool | str, arguments: dict[str, Any]
) -> nn.Module:
    """Build timm's network.

    Args:
        name: of the network.
        pretrained: true for timm's weights, or the path of a file with weights.
        arguments: further arguments of `timm.create_model`.

    Raises:
        ValueError: timm's function does not take the arguments, or the weights are
            missing or of another architecture.
    """
    import timm

    network: nn.Module
    try:
        if pretrained is True:
            network = download_weights(
                lambda: timm.create_model(name, pretrained=True, **arguments)
            )
        else:
            network = timm.create_model(name, **arguments)
    except TypeError as error:
        raise ValueError(f"model.options do not fit timm's {name}: {error}") from error
    if isinstance(pretrained, str):
        load_file(network, pretrained, f"timm's {name}")
    elif pretrained is False and "zero_init_last" not in arguments:
        start_scales_at_one(network)
    return network


def swap_norms_and_biases(
    network: nn.Module,
    input_shape: Sequence[int],
    norm: Norm,
    norms: str,
    bias: bool | None,
    trained: bool,
    name: str,
) -> list[Swap]:
    """Swap the norms of a network and give the layers before them the same biases.

    Args:
        network: the network, which is changed in place.
        input_shape: shape of one sample.
        norm: called as ``norm(num_features, dim)``.
        norms: auto, replace or insert.
        bias: whether the layers before norms have biases; None leaves them unchanged.
        trained: whether the network has trained weights.
        name: of the network, for messages.

    Returns:
        One row per norm or layer.

    Raises:
        ValueError: there is no place for a norm, or the biases cannot be set.
    """
    if bias is None:
        return swap_norms(network, norm, norms, name)

    # Before the swap, since norm=none would leave no norm to find them by.
    layers = weights_before_norms(network, input_shape, name)
    report = swap_norms(network, norm, norms, name)
    layers += inserted_weights(network, report)
    set_bias(layers, bias, trained, name)
    return report


def swap_norms(
    network: nn.Module, norm: Norm, how: str, name: str, option: str = "model.norms"
) -> list[Swap]:
    """Replace the norms of a network, or insert norms.

    Args:
        network: the network, which is changed in place.
        norm: called as ``norm(num_features, dim)``.
        how: replace, insert, or auto: replace if there are any, else insert.
        name: of the network, for messages.
        option: the name by which the user has set `how`, for messages.

    Returns:
        One row per norm or layer.

    Raises:
        ValueError: `how` is unknown, or there was nothing to replace or to insert.
    """
    how = choose(option, how, ["auto", "replace", "insert"])
    swaps = [] if how == "insert" else replace_norms(network, norm)
    if how == "insert" or (how == "auto" and not swaps):
        swaps = insert_norms(network, norm)
    if all(swap.kind == "left alone" for swap in swaps):
        reason = f" ({swaps[0].name}: {swaps[0].why})" if swaps else ""
        advice = "take another model" if how == "auto" else f"set {option}=auto"
        raise ValueError(
            f"{name} offers no place for a norm with {option}={how}{reason}; {advice}"
        )
    return swaps
