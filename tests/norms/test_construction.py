"""Norms are built whatever their constructor is."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from normlab.norms import BatchNorm, GhostBatchNorm
from normlab.norms.construction import (
    FunctionNorm,
    build_norm,
    norm_builder,
    plan_call,
    signature_text,
)
from normlab.norms.loading import BrokenNorm


class Recorder(nn.Module):
    """Remembers how it was built."""

    def __init__(self, **arguments):
        super().__init__()
        self.arguments = arguments


class NotebookNorm1d(Recorder):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__(num_features=num_features, eps=eps, momentum=momentum)


class NotebookNorm2d(NotebookNorm1d):
    pass


class WithoutDefaults(Recorder):
    def __init__(self, num_features, eps, momentum):
        super().__init__(num_features=num_features, eps=eps, momentum=momentum)


class Contract(Recorder):
    def __init__(self, num_features, dim):
        super().__init__(num_features=num_features, dim=dim)


class Textbook(Recorder):
    def __init__(self, num_features, num_dims):
        super().__init__(num_features=num_features, num_dims=num_dims)


class OfShape(Recorder):
    def __init__(self, shape, eps=1e-5):
        super().__init__(shape=shape)


class ChannelsSecond(Recorder):
    def __init__(self, num_groups, num_channels, eps=1e-5):
        super().__init__(num_groups=num_groups, num_channels=num_channels)


class DimIsChannels(Recorder):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim=dim)


class DimIsAxis(Recorder):
    def __init__(self, num_features, dim=-1):
        super().__init__(num_features=num_features, dim=dim)


class KeywordOnly(Recorder):
    def __init__(self, *, num_features, dim):
        super().__init__(num_features=num_features, dim=dim)


class Anything(Recorder):
    def __init__(self, *args, **kwargs):
        super().__init__(args=args, **kwargs)


class Nothing(Recorder):
    def __init__(self):
        super().__init__()


class WithoutConstructor(nn.Module):
    arguments = {}  # noqa: RUF012


class AxisOnly(Recorder):
    def __init__(self, axis=1):
        super().__init__(axis=axis)


class Unmatched(nn.Module):
    def __init__(self, num_features, reduction):
        super().__init__()


class Failing(nn.Module):
    def __init__(self, num_features):
        self.weight = nn.Parameter(torch.ones(num_features))  # super().__init__ is gone


class NoModule:
    def __init__(self, num_features):
        pass


def center(x, axis=0):
    return x - x.mean(axis, keepdim=True)


def annotated(values: Tensor) -> Tensor:
    return 2 * values


@pytest.mark.parametrize(
    ("target", "dim", "expected"),
    [
        (NotebookNorm1d, 1, {"num_features": 4, "eps": 1e-5, "momentum": 0.1}),
        (WithoutDefaults, 1, {"num_features": 4, "eps": 1e-5, "momentum": 0.1}),
        (Contract, 3, {"num_features": 4, "dim": 3}),
        (Textbook, 1, {"num_features": 4, "num_dims": 2}),
        (Textbook, 2, {"num_features": 4, "num_dims": 4}),
        (Textbook, 3, {"num_features": 4, "num_dims": 5}),
        (OfShape, 1, {"shape": (1, 4)}),
        (OfShape, 2, {"shape": (1, 4, 1, 1)}),
        (DimIsChannels, 2, {"dim": 4}),
        (DimIsAxis, 2, {"num_features": 4, "dim": -1}),
        (KeywordOnly, 2, {"num_features": 4, "dim": 2}),
        (Anything, 2, {"args": (4,)}),
        (Nothing, 2, {}),
        (WithoutConstructor, 2, {}),
        (AxisOnly, 2, {"axis": 1}),
        (partial(Contract, dim=1), 2, {"num_features": 4, "dim": 2}),
    ],
)
def test_arguments_go_to_the_parameters_that_mean_them(target, dim, expected):
    assert build_norm(target, 4, dim).arguments == expected


def test_a_class_for_one_rank_stands_for_its_siblings():
    assert type(build_norm(NotebookNorm1d, 4, 2)) is NotebookNorm2d
    assert type(build_norm(NotebookNorm2d, 4, 1)) is NotebookNorm1d
    assert type(build_norm(nn.BatchNorm1d, 4, 3)) is nn.BatchNorm3d
    assert type(build_norm(nn.InstanceNorm3d, 4, 1)) is nn.InstanceNorm1d


def test_a_class_for_another_rank_without_sibling_is_refused():
    with pytest.raises(ValueError) as error:
        build_norm(NotebookNorm1d, 4, 3)
    assert str(error.value) == (
        "NotebookNorm1d is made for inputs (N, C) or (N, C, L), and the network needs "
        "a norm for (N, C, D, H, W); write NotebookNorm3d beside it, or a class "
        "without a rank in its name that takes both"
    )


def test_options_go_by_name():
    built = build_norm(NotebookNorm1d, 4, 1, {"momentum": 0.5}).arguments
    assert built == {"num_features": 4, "eps": 1e-5, "momentum": 0.5}
    grouped = build_norm(ChannelsSecond, 4, 1, {"num_groups": 2}).arguments
    assert grouped == {"num_groups": 2, "num_channels": 4}
    assert build_norm(Anything, 4, 1, {"a": 1}).arguments == {"args": (4,), "a": 1}


def test_norms_of_this_project_are_built_as_by_position():
    layer = norm_builder(BatchNorm, eps=0.5)(6, 2)
    assert (layer.num_features, layer.dim, layer.eps) == (6, 2, 0.5)
    ghost = norm_builder(GhostBatchNorm, size=4)(6, 3)
    assert (ghost.num_features, ghost.dim, ghost.size) == (6, 3, 4)


@pytest.mark.parametrize(
    ("target", "options", "call"),
    [
        (WithoutDefaults, {}, "WithoutDefaults(4, eps=1e-05, momentum=0.1)"),
        (NotebookNorm1d, {}, "NotebookNorm1d(4)"),
        (NotebookNorm1d, {"eps": 1}, "NotebookNorm1d(4, eps=1)"),
        (
            ChannelsSecond,
            {"num_groups": 2},
            "ChannelsSecond(num_groups=2, num_channels=4)",
        ),
        (KeywordOnly, {}, "KeywordOnly(num_features=4, dim=1)"),
        (Nothing, {}, "Nothing()"),
    ],
)
def test_only_the_first_argument_goes_by_position(target, options, call):
    assert str(plan_call(target, 4, 1, options)) == call


def test_what_cannot_be_matched_is_shown_with_signature_and_call():
    with pytest.raises(ValueError) as error:
        build_norm(Unmatched, 4, 1)
    assert str(error.value) == (
        "Unmatched needs a value for 'reduction'; give it as an option, "
        "reduction=VALUE; its signature is Unmatched(num_features, reduction), and the "
        "call tried was Unmatched(4)"
    )
    with pytest.raises(ValueError) as error:
        build_norm(NotebookNorm1d, 4, 1, {"momntum": 0.5})
    assert str(error.value) == (
        "NotebookNorm1d has no option 'momntum', did you mean 'momentum'?; its "
        "signature is NotebookNorm1d(num_features, eps=1e-05, momentum=0.1)"
    )


def test_a_constructor_that_fails_is_shown_with_its_line():
    with pytest.raises(BrokenNorm) as error:
        build_norm(Failing, 4, 1)
    lines = Path(__file__).read_text().splitlines()
    assert "super().__init__ is gone" in lines[error.value.line - 1]
    assert str(error.value).startswith(f"Failing(4) fails in line {error.value.line}: ")
    assert "before Module.__init__() call" in str(error.value)
    assert str(error.value).endswith("its signature is Failing(num_features)")


def test_what_is_no_layer_is_refused():
    with pytest.raises(BrokenNorm, match="must give a torch.nn.Module, got NoModule"):
        build_norm(NoModule, 4, 1)


class WithoutSuper(nn.Module):
    def __init__(self, num_features):
        self.num_features = num_features


def test_a_constructor_must_call_that_of_the_module():
    with pytest.raises(BrokenNorm) as error:
        build_norm(WithoutSuper, 4, 1)
    assert str(error.value) == (
        "WithoutSuper must call super().__init__() at the start of its constructor"
    )


def test_a_function_of_a_tensor_becomes_a_layer():
    x = torch.tensor([[1.0, 5.0], [3.0, 9.0]])
    layer = build_norm(center, 2, 1)
    assert isinstance(layer, FunctionNorm)
    assert layer(x).tolist() == [[-1.0, -2.0], [1.0, 2.0]]
    by_row = build_norm(center, 2, 1, {"axis": 1})
    assert by_row(x).tolist() == [[-2.0, 2.0], [-3.0, 3.0]]
    assert build_norm(annotated, 2, 1)(x).tolist() == [[2.0, 10.0], [6.0, 18.0]]
    assert "center" in repr(layer)


def test_a_signature_is_shown_without_annotations():
    assert signature_text(annotated) == "annotated(values)"
    assert signature_text(partial(Contract, 4)) == "Contract(dim)"
