"""Batch norm by the kernels, which run in Triton's interpreter on the CPU.

The interpreter must be chosen before triton is imported, hence one process of its own
for all cases.
"""

import importlib.util
import sys

import pytest
import torch

from normlab.norms import BatchNorm
from norms.helpers import run_python

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("triton"), reason="triton is not installed here"
)

MODULES = ("normlab.norms.batch_triton", "normlab.norms.triton_kernels")
LAYERS = {
    "planes": ((4, 3, 7, 5), {}),
    "planes, several parts": ((9, 2, 30, 20), {}),
    "one sample": ((1, 3, 7, 5), {}),
    "one channel": ((6, 1, 7, 5), {}),
    "vectors": ((6, 5), {}),
    "vectors, several parts": ((150, 35), {}),
    "short sequences": ((5, 3, 2), {}),
    "volumes": ((2, 3, 2, 3, 4), {}),
    "channels last": ((4, 3, 7, 5), {}),
    "sliced": ((4, 3, 7, 5), {}),
    "large mean": ((8, 3, 7, 5), {}),
    "large mean, several parts": ((150, 35), {}),
    "no scale, no shift": ((4, 3, 7, 5), {"affine": False}),
    "no shift": ((6, 5), {"bias": False}),
    "cumulative": ((6, 5), {"momentum": None}),
    "bfloat16": ((4, 3, 7, 5), {}),
    "float16": ((8, 10), {}),
}
PROGRAM = """
import sys, torch
from normlab.norms import BatchNorm
cases, found = torch.load(sys.argv[1]), {}
for name, (options, x, dy) in cases.items():
    layer = BatchNorm(x.shape[1], max(1, x.ndim - 2), kernel="triton", **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.arange(1.0, len(parameter) + 1))
    x.requires_grad_()
    y = layer(x)
    y.backward(dy)
    gradients = {key: parameter.grad for key, parameter in layer.named_parameters()}
    found[name] = {"y": y.detach(), "dx": x.grad, **gradients}
    found[name] |= dict(layer.named_buffers())
torch.save(found, sys.argv[2])
"""


def case(name):
    shape, options = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(shape, generator=generator) for _ in range(2))
    if "large mean" in name:
        x += 1e3
    if name == "channels last":
        x = x.to(memory_format=torch.channels_last)
    if name == "sliced":
        x = torch.stack([x, x], -1)[..., 0]
    if name in ("bfloat16", "float16"):
        x, dy = x.to(getattr(torch, name)), dy.to(getattr(torch, name))
    return options, x, dy


def reference(name):
    """The same step in float64 by PyTorch's operations, from the same rounded input."""
    options, x, dy = case(name)
    layer = BatchNorm(
        x.shape[1], max(1, x.ndim - 2), kernel="eager", dtype=torch.float64, **options
    )
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.arange(1.0, len(parameter) + 1))
    x = x.double().requires_grad_()
    y = layer(x)
    y.backward(dy.double())
    gradients = {key: parameter.grad for key, parameter in layer.named_parameters()}
    return {"y": y.detach(), "dx": x.grad, **gradients, **dict(layer.named_buffers())}


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton")
    torch.save({name: case(name) for name in LAYERS}, folder / "cases.pt")
    run_python(PROGRAM, folder / "cases.pt", folder / "found.pt", TRITON_INTERPRET="1")
    return torch.load(folder / "found.pt")


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_equals_eager_float64(interpreted, name):
    _, x, _ = case(name)
    expected = reference(name)
    # float32 keeps a mean of 1000 to 6e-5; dweight sums that over the values of a
    # channel.
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}[
        x.dtype
    ]
    tolerance = 2e-3 if "large mean" in name else tolerance
    assert interpreted[name].keys() == expected.keys()
    for key, value in interpreted[name].items():
        scale = (
            1
            if key in ("num_batches_tracked", "running_mean")
            else max(1, expected[key].abs().max().item())
        )
        torch.testing.assert_close(
            value.double(),
            expected[key].double(),
            rtol=tolerance,
            atol=tolerance * scale,
        )
    assert interpreted[name]["y"].dtype == x.dtype


def test_the_variance_of_a_large_mean_does_not_cancel(interpreted):
    for name in ("large mean", "large mean, several parts"):
        expected = reference(name)["running_var"]
        torch.testing.assert_close(
            interpreted[name]["running_var"].double(), expected, rtol=2e-7, atol=0
        )


def test_memory_layout_is_kept(interpreted):
    assert interpreted["channels last"]["y"].is_contiguous(
        memory_format=torch.channels_last
    )
    assert interpreted["channels last"]["dx"].is_contiguous(
        memory_format=torch.channels_last
    )
    assert interpreted["sliced"]["y"].is_contiguous()


@pytest.mark.parametrize(
    "sizes",
    [
        (64, 64, 3136),
        (512, 1024, 1),
        (1, 3, 35),
        (128, 16, 1024),
        (100352, 3, 1),
        (7, 2, 100000),
    ],
)
def test_every_part_has_work_and_none_is_left_over(sizes):
    from normlab.norms.batch_triton import MOST_PARTS, TILE, plan

    (samples, _, positions), (n, c, s), parts, tiles = plan(*sizes)
    whole = -(-samples // n) * -(-positions // s)
    assert (parts - 1) * tiles < whole <= parts * tiles
    assert n * c * s <= TILE
    assert parts <= MOST_PARTS


def test_few_channels_are_shared_by_many_programs():
    from normlab.norms.batch_triton import plan

    assert plan(64, 64, 3136) == (
        (64, 64, 3136),
        (8, 1, 256),
        15,
        7,
    )  # 8 x 13 tiles of a channel; 960 programs
    assert plan(64, 64, 3136).grid == (64, 15)
    assert plan(512, 1024, 1).grid == (
        32,
        8,
    )  # 32 neighbouring channels a program, 64 of their values


def test_the_kernels_are_imported_only_to_normalize_a_batch(monkeypatch):
    for module in MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    layer = BatchNorm(3, 1, kernel="triton", device="meta")
    assert layer(torch.empty(5, 3, device="meta")).shape == (5, 3)
    assert BatchNorm(3, 1, kernel="triton")(torch.empty(0, 3)).shape == (0, 3)
    assert BatchNorm(3, 1, kernel="triton").eval()(torch.ones(5, 3)).shape == (5, 3)
    assert not any(module in sys.modules for module in MODULES)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [(torch.float32, "CUDA device, got cpu"), (torch.float64, "float16 input")],
)
def test_input_that_no_kernel_takes_is_refused(dtype, message):
    with pytest.raises(
        ValueError,
        match=f"norm.kernel=triton needs .*{message}.*; use norm.kernel=auto",
    ):
        BatchNorm(3, 1, kernel="triton")(torch.ones(5, 3, dtype=dtype))


def test_without_the_package_the_error_names_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    for module in MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(
        ValueError, match="needs the package triton.*use norm.kernel=auto"
    ):
        BatchNorm(3, 1, kernel="triton")(torch.randn(5, 3))
