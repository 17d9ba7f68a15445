"""The kernels in Triton's interpreter on the CPU, and translated for a GPU that need not be there.

The interpreter must be chosen before triton is imported, hence one process of its own for all cases.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from normlab.norms import BatchNorm

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("triton"), reason="triton is not installed here"
)

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
    found[name] = {"y": y.detach(), "dx": x.grad, **{key: p.grad for key, p in layer.named_parameters()},
                   **dict(layer.named_buffers())}
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


def python(program, *arguments, **environment):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=250,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton")
    torch.save({name: case(name) for name in LAYERS}, folder / "cases.pt")
    python(PROGRAM, folder / "cases.pt", folder / "found.pt", TRITON_INTERPRET="1")
    return torch.load(folder / "found.pt")


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_equals_eager_float64(interpreted, name):
    _, x, _ = case(name)
    expected = reference(name)
    # Of a mean of 1000, float32 keeps 6e-5; dweight sums that over the values of a channel.
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
    from normlab.norms.triton_kernels import MOST_PARTS, TILE, plan

    (samples, _, positions), (n, c, s), parts, tiles = plan(*sizes)
    whole = -(-samples // n) * -(-positions // s)
    assert (parts - 1) * tiles < whole <= parts * tiles
    assert n * c * s <= TILE
    assert parts <= MOST_PARTS


def test_few_channels_are_shared_by_many_programs():
    from normlab.norms.triton_kernels import plan

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


TRANSLATION = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from normlab.norms import triton_kernels as kernels

POINTERS = {"x", "dy", "y", "dx"}
VECTORS = {"partials", "weight", "bias", "mean_out", "var_out", "mean_in", "var_in", "dweight_out", "dbias_out"}
plan = kernels.plan(64, 64, 3136)
constants = dict(zip(("BLOCK_N", "BLOCK_C", "BLOCK_S"), plan.blocks)) | {"PARTS": triton.next_power_of_2(plan.parts)}
for name in ("_partial_moments", "_write_output", "_partial_gradient_sums", "_write_gradients"):
    kernel = getattr(kernels, name)
    kinds = {key: "*bf16" for key in POINTERS} | {key: "*fp32" for key in VECTORS}
    kinds |= {key: "constexpr" for key in constants} | {"eps": "fp32"}
    signature = {key: kinds.get(key, "i32") for key in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, key in enumerate(signature)
               if signature[key].startswith("*") or key in ("samples", "channels", "positions")}
    source = ASTSource(kernel, signature, {key: constants[key] for key in signature if key in constants}, aligned)
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    assert "ld.global.v4.b32" in ptx, name  # eight values of two bytes, or four of four, at a time
    print(name)
"""


def test_kernels_translate_for_cuda_with_wide_loads(tmp_path):
    out = python(TRANSLATION, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert out.split() == [
        "_partial_moments",
        "_write_output",
        "_partial_gradient_sums",
        "_write_gradients",
    ]


def test_the_kernels_are_imported_only_to_normalize_a_batch(monkeypatch):
    monkeypatch.delitem(sys.modules, "normlab.norms.triton_kernels", raising=False)
    layer = BatchNorm(3, 1, kernel="triton", device="meta")
    assert layer(torch.empty(5, 3, device="meta")).shape == (5, 3)
    assert BatchNorm(3, 1, kernel="triton")(torch.empty(0, 3)).shape == (0, 3)
    assert BatchNorm(3, 1, kernel="triton").eval()(torch.ones(5, 3)).shape == (5, 3)
    assert "normlab.norms.triton_kernels" not in sys.modules


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
    monkeypatch.delitem(sys.modules, "normlab.norms.triton_kernels", raising=False)
    with pytest.raises(
        ValueError, match="needs the package triton.*use norm.kernel=auto"
    ):
        BatchNorm(3, 1, kernel="triton")(torch.randn(5, 3))
