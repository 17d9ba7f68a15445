"""Build a norm for a number of channels and a rank, whatever its constructor is.

Models call `norm(num_features, dim)`. A norm that somebody brings along may have other
arguments: `(num_features, eps, momentum)`, as in PyTorch; `(num_features, num_dims)`,
as in "Dive into Deep Learning"; a shape; none at all. `plan_call` reads the signature
and decides on one call. Only the first argument ever goes by position, because a second
one could be anything.
"""

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from normlab.config.trust import OwnNormError
from normlab.norms.loading import (
    CODE_ERRORS,
    BrokenNorm,
    describe,
    line_in_file,
    source_file,
)
from normlab.spelling import did_you_mean

# What parameters of constructors are called, in lower case.
CHANNELS = (
    *("num_features", "num_channels", "channels", "n_channels", "n_features"),
    *("in_channels", "in_features", "features", "nb_features", "normalized_shape"),
    *("embedding_dim", "hidden_size", "d_model", "size", "in_size", "input_size"),
    *("c", "nf"),
)
SHAPES = ("shape", "param_shape", "stat_shape")
# 1, 2 or 3, as in the names of PyTorch's classes ...
SPATIAL_AXES = ("dim", "dims", "spatial_dim", "spatial_dims")
# ... and 2, 4 or 5, the number of axes of the input.
INPUT_AXES = ("num_dims", "num_dim", "ndim", "ndims", "n_dims", "input_dim", "rank")
# PyTorch's values, for parameters without a default of their own.
CONVENTIONS: dict[str, Any] = {
    "eps": 1e-5,
    "epsilon": 1e-5,
    "momentum": 0.1,
    "affine": True,
    "track_running_stats": True,
    "device": None,
    "dtype": None,
}
# First parameters of functions that normalize a tensor rather than build a layer.
INPUTS = ("x", "input", "inputs", "tensor", "batch", "data")
TENSORS = (Tensor, "Tensor", "torch.Tensor")  # annotations may be text

RANK_IN_NAME = re.compile(r"([123])d", re.IGNORECASE)
INPUTS_BY_DIM = {1: "(N, C) or (N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}


@dataclass(frozen=True)
class Call:
    """One call of a class or function.

    Attributes:
        target: what is called.
        positional: arguments by position, at most one.
        named: arguments by name.
    """

    target: Callable[..., Any]
    positional: tuple[Any, ...]
    named: dict[str, Any]

    def __str__(self) -> str:
        arguments = [repr(value) for value in self.positional]
        arguments += [f"{name}={value!r}" for name, value in self.named.items()]
        return f"{name_of(self.target)}({', '.join(arguments)})"


class FunctionNorm(nn.Module):
    """A layer without parameters or state that calls a function of its input.

    Args:
        function: takes a tensor, and gives one of the same shape.
        options: arguments of the function beside the tensor.
    """

    def __init__(
        self, function: Callable[..., Tensor], options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.function = function
        self.options = dict(options or {})

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input, **self.options)

    def extra_repr(self) -> str:
        return name_of(self.function)


def norm_builder(
    target: Callable[..., Any], **options: Any
) -> Callable[[int, int], nn.Module]:
    """Return `norm(num_features, dim)` for a norm with any constructor.

    Args:
        target: the class or function, see `load_norm`.
        options: further arguments of the constructor, by name.
    """
    return partial(build_norm, target, options=options)


def build_norm(
    target: Callable[..., Any],
    num_features: int,
    dim: int,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a norm.

    Args:
        target: a class derived from `torch.nn.Module`, a function that returns such a
            layer, or a function that normalizes a tensor.
        num_features: number of channels C.
        dim: 1, 2 or 3, as in the names of PyTorch's classes.
        options: further arguments of the constructor, by name.

    Raises:
        ValueError: the arguments cannot be matched, or the class is made for inputs of
            another rank; the message has the signature.
        BrokenNorm: the call fails, or its result is no layer; the message has the
            signature and the call that was tried. Or the constructor does not call that
            of `torch.nn.Module`.
    """
    call = plan_call(target, num_features, dim, options)
    if normalizes_tensors(call.target):
        return FunctionNorm(call.target, call.named)
    try:
        layer = call.target(*call.positional, **call.named)
    except CODE_ERRORS as error:
        line = line_in_file(error, source_file(call.target))
        place = f" in line {line}" if line else ""
        raise BrokenNorm(
            f"{call} fails{place}: {describe(error)}; its signature is "
            f"{signature_text(call.target)}",
            line,
        ) from error
    if not isinstance(layer, nn.Module):
        raise BrokenNorm(
            f"{call} must give a torch.nn.Module, got {type(layer).__name__}; its "
            f"signature is {signature_text(call.target)}"
        )
    if "_parameters" not in vars(layer):
        raise BrokenNorm(
            f"{name_of(call.target)} must call super().__init__() at the start of its "
            f"constructor"
        )
    return layer


def plan_call(
    target: Callable[..., Any],
    num_features: int,
    dim: int,
    options: Mapping[str, Any] | None = None,
) -> Call:
    """Decide how a class or function is called.

    The number of channels goes to the parameter of that name (`num_features`,
    `num_channels`, ...), or to the first one. `dim` is given to parameters that ask for
    it as 1, 2 or 3 (`dim`), or as 2, 4 or 5 axes of the input (`num_dims`). A class for
    one rank, such as `MyBatchNorm1d`, stands for its siblings `MyBatchNorm2d` and
    `MyBatchNorm3d` of the same file.

    Args:
        target: the class or function.
        num_features: number of channels C.
        dim: 1, 2 or 3.
        options: further arguments, by name.

    Raises:
        ValueError: an option does not exist, a parameter is left without a value, or
            the class is made for inputs of another rank.
    """
    options = dict(options or {})
    target = for_rank(target, dim)
    parameters = parameters_of(target)
    _refuse_unknown(target, parameters, options)

    channels = _channel_parameter(target, parameters)
    positional: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    for parameter in _to_be_filled(target, parameters):
        name = parameter.name
        value = options.get(name, parameter.empty)
        if name == channels and name not in options:
            value = _channels_as(name, num_features, dim)
        elif name not in options:
            value = _known_value(parameter, dim)

        if value is parameter.empty:
            if parameter.default is parameter.empty:
                raise _no_value_error(Call(target, positional, named), name)
        elif name == channels and _is_first_by_position(parameter, parameters):
            positional = (value,)
        else:
            named[name] = value
    named |= {name: value for name, value in options.items() if name not in parameters}
    if channels is None and _takes_anything(parameters):
        positional = (num_features,)
    return Call(target, positional, named)


def _to_be_filled(
    target: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> list[inspect.Parameter]:
    """The parameters that may get a value, without the tensor of a function of one."""
    found = [
        one
        for one in parameters.values()
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    return found[1:] if normalizes_tensors(target) else found


def _is_first_by_position(
    parameter: inspect.Parameter, parameters: Mapping[str, inspect.Parameter]
) -> bool:
    is_first = next(iter(parameters)) == parameter.name
    return is_first and parameter.kind is not parameter.KEYWORD_ONLY


def _no_value_error(call: Call, name: str) -> OwnNormError:
    return OwnNormError(
        f"{name_of(call.target)} needs a value for {name!r}; give it as an option, "
        f"{name}=VALUE; its signature is {signature_text(call.target)}, and the call "
        f"tried was {call}"
    )


def _known_value(parameter: inspect.Parameter, dim: int) -> Any:
    """The value for a parameter that is about the rank or has a convention.

    It is `Parameter.empty` if the default shall be used or nothing is known.
    """
    name = parameter.name.lower()
    default = parameter.default
    has_default = default is not parameter.empty
    if name in SPATIAL_AXES and (not has_default or default in (1, 2, 3)):
        return dim
    if name in INPUT_AXES and (not has_default or default in (2, 3, 4, 5)):
        return 2 if dim == 1 else dim + 2
    if name in CONVENTIONS and not has_default:
        return CONVENTIONS[name]
    return parameter.empty


def _channels_as(name: str, num_features: int, dim: int) -> Any:
    """The number of channels, or for a shape one that broadcasts along axis 1."""
    if name.lower() in SHAPES:
        return (1, num_features, *[1] * (0 if dim == 1 else dim))
    return num_features


def _channel_parameter(
    target: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> str | None:
    """Name of the parameter that takes the number of channels; None if none does."""
    if normalizes_tensors(target) or not parameters:
        return None
    first = next(iter(parameters.values()))
    for name in (*CHANNELS, *SHAPES):
        for parameter in parameters.values():
            is_wanted = parameter is first or parameter.default is parameter.empty
            if parameter.name.lower() == name and is_wanted:
                return parameter.name
    can_be_positional = first.kind in (
        first.POSITIONAL_ONLY,
        first.POSITIONAL_OR_KEYWORD,
    )
    if not can_be_positional or first.default is not first.empty:
        return None
    return None if first.name.lower() in CONVENTIONS else first.name


def _takes_anything(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(one.kind is one.VAR_POSITIONAL for one in parameters.values())


def _refuse_unknown(
    target: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    options: Mapping[str, Any],
) -> None:
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    for name in options:
        if name not in parameters:
            hint = did_you_mean(name, parameters)
            raise OwnNormError(
                f"{name_of(target)} has no option {name!r}{hint}; its signature is "
                f"{signature_text(target)}"
            )


def for_rank(target: Callable[..., Any], dim: int) -> Callable[..., Any]:
    """Return the class for inputs of a rank: `MyNorm2d` for `MyNorm1d` and dim 2.

    Args:
        target: a class or function; one without a rank in its name is returned as is.
        dim: 1, 2 or 3.

    Raises:
        ValueError: the class is made for another rank, and its module has no sibling.
    """
    name = name_of(target)
    rank = rank_in_name(name)
    if rank in (None, dim):
        return target
    sibling = RANK_IN_NAME.sub(
        lambda match: match[0].replace(match[1], str(dim)), name, count=1
    )
    module = sys.modules.get(getattr(target, "__module__", ""))
    found = getattr(module, sibling, None)
    if not callable(found):
        raise OwnNormError(
            f"{name} is made for inputs {INPUTS_BY_DIM[rank or 1]}, and the network "
            f"needs a norm for {INPUTS_BY_DIM[dim]}; write {sibling} beside it, or a "
            "class without a rank in its name that takes both"
        )
    result: Callable[..., Any] = found
    return result


def rank_in_name(name: str) -> int | None:
    """The number in names such as `BatchNorm2d`; None in names without one."""
    match = RANK_IN_NAME.search(name)
    return int(match[1]) if match else None


def normalizes_tensors(target: Callable[..., Any]) -> bool:
    """Whether this is a function whose first parameter is the tensor to normalize."""
    if inspect.isclass(target):
        return False
    parameters = list(parameters_of(target).values())
    if not parameters:
        return False
    first = parameters[0]
    return first.annotation in TENSORS or first.name.lower() in INPUTS


def parameters_of(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Parameters of a class or function, by name.

    Raises:
        ValueError: they are unknown, as of some callables that are written in C.
    """
    if inspect.isclass(target) and target.__init__ is nn.Module.__init__:
        return {}  # that of the module takes anything, and refuses it
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError) as error:
        raise OwnNormError(
            f"{name_of(target)} must have a signature, but it has none that Python "
            "knows; write a function around it"
        ) from error


def signature_text(target: Callable[..., Any]) -> str:
    """`MyNorm(num_features, eps=1e-05)`, without annotations."""
    parameters = [
        one.replace(annotation=one.empty) for one in parameters_of(target).values()
    ]
    return f"{name_of(target)}{inspect.Signature(parameters)}"


def name_of(target: Callable[..., Any]) -> str:
    """Name of a class or function, also of one inside of a `functools.partial`."""
    target = function_of(target)
    return getattr(target, "__name__", type(target).__name__)


def function_of(target: Callable[..., Any]) -> Callable[..., Any]:
    """The class or function inside of a `functools.partial`."""
    while isinstance(target, partial):
        target = target.func
    return target
