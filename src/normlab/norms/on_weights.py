"""Norms that act on weights instead of activations.

They change a network once, after it is built.
"""

import re
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

FORWARD_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED_LAYERS = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
ATTENTION_WEIGHTS = (
    "in_proj_weight",
    "q_proj_weight",
    "k_proj_weight",
    "v_proj_weight",
)
# How PyTorch names the parts of a reparametrized tensor.
WEIGHT_LENGTH = re.compile(r"(^|\.)parametrizations\.\w+\.original0$")
REPARAMETRIZED = re.compile(r"parametrizations\.(\w+)\.original1?$")


class Weight(NamedTuple):
    """A tensor of weights in a network.

    Attributes:
        layer: the module that has the tensor as an attribute.
        name: the name of the attribute.
        axis: the axis of the tensor along which the outputs of the layer lie.
    """

    layer: nn.Module
    name: str
    axis: int = 0

    @property
    def tensor(self) -> Tensor:
        """The weights themselves."""
        return getattr(self.layer, self.name)

    @property
    def fan_in(self) -> int:
        """Number of inputs of each output."""
        return self.tensor.select(self.axis, 0).numel()

    def name_in(self, network: nn.Module) -> str:
        """Return the name that the tensor has in a network, such as "0.weight"."""
        for name, layer in network.named_modules():
            if layer is self.layer:
                return f"{name}.{self.name}".lstrip(".")
        raise LookupError("the network does not contain this layer")


def weights_of(layer: nn.Module) -> list[Weight]:
    """List the weights of one layer that a norm can act on.

    They are those of linear layers, convolutions and attention, and the tensors
    ``(outputs, inputs)`` that a layer names in its attribute `weight_matrices`. Two
    kinds are left out: transposed convolutions with groups, whose outputs lie along two
    axes, and PyTorch's recurrent layers, which keep using the tensors they were built
    with.
    """
    if isinstance(layer, FORWARD_LAYERS):
        return [Weight(layer, "weight")]
    if isinstance(layer, TRANSPOSED_LAYERS):
        return [Weight(layer, "weight", axis=1)] if layer.groups == 1 else []
    names: tuple[str, ...]
    if isinstance(layer, nn.MultiheadAttention):
        names = ATTENTION_WEIGHTS
    else:
        names = getattr(layer, "weight_matrices", ())
    present = [name for name in names if getattr(layer, name) is not None]
    return [Weight(layer, name) for name in present]


def weights_to_change(network: nn.Module, skip_output: bool) -> list[Weight]:
    """List `weights_of` all layers in the order of the network, without frozen ones.

    Args:
        network: any module.
        skip_output: leave out the last linear layer, which makes the predictions.

    Raises:
        ValueError: there are no such weights, so that the norm would do nothing.
    """
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    skipped = linear[-1] if linear and skip_output else None
    found = []
    for layer in network.modules():
        if layer is not skipped:
            found += weights_of(layer)
    trained = [weight for weight in found if weight.tensor.requires_grad]
    if trained:
        return trained

    if skipped is not None:
        advice = "set reparametrize.skip_output=false"
    else:
        advice = "use another norm"
    raise ValueError(
        "a norm on weights needs weights in front of the output layer, the network has "
        f"none; {advice}"
    )


def weights_without_norm(network: nn.Module) -> list[str]:
    """List the trained weights in front of the output layer that no norm acts on.

    Args:
        network: a network after `normalize_weights` or `standardize_weights`.

    Returns:
        Names of parameters of rank 2 or more with "weight" in their name.
    """
    output = None  # the name of the last linear layer
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear):
            output = name

    found = []
    for name, parameter in network.named_parameters():
        owner, _, attribute = name.rpartition(".")
        is_weight = parameter.ndim > 1 and "weight" in attribute
        has_norm = ".parametrizations." in f".{owner}."
        if parameter.requires_grad and is_weight and not has_norm and owner != output:
            found.append(name)
    return found


def normalize_weights(network: nn.Module, skip_output: bool = False) -> nn.Module:
    r"""Weight normalization: learn length and direction of weights separately.

    .. math:: w_o = g_o \, \frac{v_o}{\lVert v_o \rVert}

    - :math:`w_o`: the weights of output o of a layer, one for each of its inputs.
    - :math:`g_o`: their learned length, one number per output.
    - :math:`v_o`: a learned vector of the same size that gives their direction.

    At first the network computes what it did before. Training and evaluation are the
    same. This is PyTorch's parametrization
    `torch.nn.utils.parametrizations.weight_norm`.

    Use it if no statistics of activations are wanted at all; activations keep whatever
    scale they have.

    Args:
        network: the network, which is changed in place and returned.
        skip_output: leave the last linear layer as it is.

    Raises:
        ValueError: the network has no weights that it could act on, or the weights of
            an output are all 0 and have no direction.

    References:
        Salimans and Kingma, "Weight Normalization: A Simple Reparameterization to
        Accelerate Training of Deep Neural Networks", 2016, arXiv 1602.07868.
    """
    weights = weights_to_change(network, skip_output)
    for weight in weights:
        if _has_output_of_zeros(weight):
            raise ValueError(
                "weight norm needs weights that are not 0, "
                f"{weight.name_in(network)} starts with an output of zeros; set "
                "reparametrize.skip_output=true if it makes the predictions, or use "
                "another norm"
            )
    for layer, name, axis in weights:
        parametrizations.weight_norm(layer, name, dim=axis)
    return network


def _has_output_of_zeros(weight: Weight) -> bool:
    """Whether all weights of some output are 0; False on the meta device."""
    if weight.tensor.is_meta:
        return False
    outputs = weight.tensor.transpose(0, weight.axis).flatten(1)
    return not outputs.any(1).all()


def is_weight_length(name: str) -> bool:
    """Whether a parameter of this name is a length g of `normalize_weights`."""
    return WEIGHT_LENGTH.search(name) is not None


def plain_name(name: str) -> str:
    """Return the name that a parameter had before a norm reparametrized it.

    PyTorch stores a reparametrized `weight` as `parametrizations.weight.original`, or
    as `original1` beside a length `original0`. All other names are returned unchanged,
    those of lengths too.

    Args:
        name: as `named_parameters` gives it.
    """
    return REPARAMETRIZED.sub(r"\1", name)


class StandardizedWeight(nn.Module):
    r"""The parametrization of `standardize_weights`, which has its formula.

    Args:
        eps: added to the variance, against division by zero.
        gain: constant factor.
        axis: the axis along which the outputs lie; statistics are over all others.
    """

    def __init__(self, eps: float, gain: float, axis: int = 0) -> None:
        super().__init__()
        self.eps = eps
        self.gain = gain
        self.axis = axis

    def extra_repr(self) -> str:
        return f"eps={self.eps}, gain={self.gain:.6g}"

    def forward(self, weight: Tensor) -> Tensor:
        """Return standardized weights of the same shape."""
        axes = tuple(axis for axis in range(weight.ndim) if axis != self.axis)
        var, mean = torch.var_mean(weight, axes, correction=0, keepdim=True)
        inverse_std = torch.rsqrt(var + self.eps)
        return self.gain * (weight - mean) * inverse_std


def standardize_weights(
    network: nn.Module,
    eps: float = 1e-5,
    scaled: bool = False,
    activation_gain: float = 1.7139,
    skip_output: bool = True,
) -> nn.Module:
    r"""Weight standardization: give the weights of every output mean 0 and variance 1.

    .. math::

        w_{oi} = a \, \frac{v_{oi} - \mu_o}{\sqrt{\sigma_o^2 + \epsilon}}

    - :math:`v_{oi}`: the learned weight of output o for its input i.
    - :math:`\mu_o, \sigma_o^2`: mean and biased variance over all inputs of output o.
    - :math:`a`: a constant gain, which is 1 unless `scaled` is set.

    Training and evaluation are the same.

    Use it with group norm for batches that are too small for batch norm. With `scaled`
    it keeps the variance of the activations without any other norm.

    Args:
        network: the network, which is changed in place and returned.
        eps: added to the variance of the weights, against division by zero.
        scaled: use the gain ``activation_gain / sqrt(inputs)`` (Brock, De and Smith,
            "Characterizing signal propagation to close the performance gap in
            unnormalized ResNets", 2021, arXiv 2101.08692).
        activation_gain: the gain for one input, which depends on the activation
            function: ``sqrt(2 / (1 - 1 / pi))`` for ReLU.
        skip_output: leave the last linear layer as it is.

    Raises:
        ValueError: the network has no weights that it could act on, or outputs with one
            input each, whose weight could only become 0.

    References:
        Qiao, Wang, Liu, Shen and Yuille, "Micro-Batch Training with Batch-Channel
        Normalization and Weight Standardization", 2019, arXiv 1903.10520.
    """
    for weight in weights_to_change(network, skip_output):
        _refuse_one_input(weight, network, "standardized")
        gain = activation_gain / weight.fan_in**0.5 if scaled else 1.0
        parametrize.register_parametrization(
            weight.layer, weight.name, StandardizedWeight(eps, gain, weight.axis)
        )
    return network


def _refuse_one_input(weight: Weight, network: nn.Module, verb: str) -> None:
    """Refuse weights of which nothing is left without their mean."""
    if weight.fan_in < 2:
        raise ValueError(
            f"weights can be {verb} over at least 2 inputs, "
            f"{weight.name_in(network)} has {weight.fan_in} per output; "
            "use another norm"
        )


class CentredWeight(nn.Module):
    r"""The parametrization of `centre_weights`, which has its formula.

    Args:
        axis: the axis along which the outputs lie; the mean is over all others.
    """

    def __init__(self, axis: int = 0) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, weight: Tensor) -> Tensor:
        """Return centred weights of the same shape."""
        axes = tuple(axis for axis in range(weight.ndim) if axis != self.axis)
        return weight - weight.mean(axes, keepdim=True)


def centre_weights(network: nn.Module, skip_output: bool = True) -> nn.Module:
    r"""Weight centralization: give the weights of every output mean 0.

    .. math:: w_{oi} = v_{oi} - \mu_o

    - :math:`v_{oi}`: the learned weight of output o for its input i.
    - :math:`\mu_o`: mean over all inputs of output o.

    Training and evaluation are the same.

    Use it with `MovingAverageBatchNorm`, which does not centre.

    Args:
        network: the network, which is changed in place and returned.
        skip_output: leave the last linear layer as it is.

    Raises:
        ValueError: the network has no weights that it could act on, or outputs with one
            input each, whose weight could only become 0.

    References:
        Yan, Wan, Zhang, Zhang, Wei and Sun, "Towards Stabilizing Batch Statistics in
        Backward Propagation of Batch Normalization", 2020, arXiv 2001.06838, for
        convolutions.
    """
    for weight in weights_to_change(network, skip_output):
        _refuse_one_input(weight, network, "centred")
        parametrize.register_parametrization(
            weight.layer, weight.name, CentredWeight(weight.axis)
        )
    return network


def limit_spectrum(
    network: nn.Module,
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    skip_output: bool = False,
) -> nn.Module:
    r"""Spectral normalization: divide the weights of a layer by their spectral norm.

    .. math:: W = \frac{V}{\sigma(V)}
              \qquad
              \sigma(V) = \max_{h \ne 0} \frac{\lVert V h \rVert}{\lVert h \rVert}

    - :math:`V`, ``(outputs, inputs)``: the learned weights of a layer, those of a
      convolution written as a matrix.
    - :math:`\sigma(V)`: their largest singular value, which power iteration estimates:
      one step of it for every forward pass of training.

    No linear layer then lengthens a difference of inputs, so the network cannot change
    faster than its other parts allow. This is PyTorch's parametrization
    `torch.nn.utils.parametrizations.spectral_norm`. Its vectors are buffers; evaluation
    leaves them as they are.

    Use it if the slope of the network has to stay small, as in the discriminators of
    generative adversarial networks.

    Args:
        network: the network, which is changed in place and returned.
        n_power_iterations: steps of power iteration in every forward pass of training.
        eps: smallest length by which a vector of power iteration is divided.
        skip_output: leave the last linear layer as it is.

    Raises:
        ValueError: the network has no weights that it could act on, or the weights of a
            layer are all 0.

    References:
        Miyato, Kataoka, Koyama and Yoshida, "Spectral Normalization for Generative
        Adversarial Networks", 2018, arXiv 1802.05957.
    """
    for weight in weights_to_change(network, skip_output):
        if not weight.tensor.is_meta and not weight.tensor.any():
            raise ValueError(
                "spectral norm needs weights that are not 0, "
                f"{weight.name_in(network)} has no others; use another norm"
            )
        parametrizations.spectral_norm(
            weight.layer, weight.name, n_power_iterations, eps, weight.axis
        )
    return network
