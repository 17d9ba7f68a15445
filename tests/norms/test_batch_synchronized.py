"""Batch norm over two processes equals one process with the whole batch.

That must hold for any shares of the batch that they have.
"""

from contextlib import contextmanager

import pytest
import torch
from torch import distributed

from normlab.norms import BatchNorm

SHAPES = {"vectors": (1, (4,)), "images": (2, (4, 3, 2))}
SHARES = {
    "4 and 4": 4,
    "3 and 5": 3,
    "1 and 7": 1,
    "0 and 8": 0,
}  # samples of the first process
DTYPES = {"float64": (torch.float64, 1e-10), "float32": (torch.float32, 1e-6)}
CASES = [
    (kind, share, dtype) for kind in SHAPES for share in SHARES for dtype in DTYPES
]
OPTIONS = {
    "affine=False": {"affine": False},
    "bias=False": {"bias": False},
    "momentum=None": {"momentum": None},
    "untracked": {"track_running_stats": False},
}
HALVES = {"bfloat16": (torch.bfloat16, 2e-2), "float16": (torch.float16, 2e-3)}
COLLECTIVES = (
    "all_reduce",
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "broadcast",
    "reduce",
)


def draw(shape, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, *shape, generator=generator, dtype=torch.float64).to(dtype)


def train(kind, dtype, rows, sync):
    """Outputs and gradients of three steps, and the buffers.

    Gradients of scale and shift are summed over the processes.
    """
    dim, shape = SHAPES[kind]
    layer, found = BatchNorm(4, dim, sync=sync).to(dtype), []
    for seed in range(3):
        x = (draw(shape, dtype, seed) + 2)[rows].requires_grad_()
        y = layer(x)
        y.backward(draw(shape, dtype, 100 + seed)[rows])
        gradients = torch.stack([layer.weight.grad, layer.bias.grad])
        if sync:
            distributed.all_reduce(gradients)
        with torch.no_grad():
            layer.weight -= 0.01 * gradients[0]
            layer.bias -= 0.01 * gradients[1]
        layer.zero_grad()
        found.append({"y": y.detach(), "dx": x.grad, "gradients": gradients})
    return {"steps": found, "buffers": dict(layer.named_buffers())}


def steps_with(options, dtype, rows, sync):
    """Output and gradients after two steps of images, and the buffers.

    Gradients of parameters are summed over the processes.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    layer = BatchNorm(4, 2, sync=sync, **options).to(wide)
    for seed in range(2):
        x = (draw((4, 3, 2), dtype, seed) + 2)[rows].requires_grad_()
        y = layer(x)
        y.backward(draw((4, 3, 2), dtype, 100 + seed)[rows])
    gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
    if sync:
        for gradient in gradients.values():
            distributed.all_reduce(gradient)
    return {"y": y.detach(), "dx": x.grad}, gradients | dict(layer.named_buffers())


@contextmanager
def counted_collectives():
    """While open, the names of the collectives that this process calls."""
    calls, originals = [], {name: getattr(distributed, name) for name in COLLECTIVES}

    def counted(name):
        return lambda *arguments, **options: (
            calls.append(name) or originals[name](*arguments, **options)
        )

    for name in COLLECTIVES:
        setattr(distributed, name, counted(name))
    try:
        yield calls
    finally:
        for name, original in originals.items():
            setattr(distributed, name, original)


def collectives_of_one_step():
    layer, x = BatchNorm(4, 1, sync=True), torch.randn(3, 4, requires_grad=True)
    with counted_collectives() as forward:
        y = layer(x)
    with counted_collectives() as backward:
        y.sum().backward()
    with counted_collectives() as evaluation:
        layer.eval()(x)
    return {"forward": forward, "backward": backward, "evaluation": evaluation}


def error_of_one_value(rank):
    try:
        BatchNorm(4, 1, sync=True)(torch.randn(1 - rank, 4))
    except ValueError as error:
        return str(error)
    return None


def one_process(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    found = {}
    for kind, share, dtype in CASES:
        rows = slice(0, SHARES[share]) if rank == 0 else slice(SHARES[share], 8)
        found[f"{kind} {share} {dtype}"] = train(
            kind, DTYPES[dtype][0], rows, sync=True
        )
    rows = slice(0, 3) if rank == 0 else slice(3, 8)
    for name, options in OPTIONS.items():
        found[name] = steps_with(options, torch.float64, rows, sync=True)
    for name, (dtype, _) in HALVES.items():
        found[name] = steps_with({}, dtype, rows, sync=True)
    found["collectives"] = collectives_of_one_step()
    found["error"] = error_of_one_value(rank)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What each of two processes found."""
    folder = str(tmp_path_factory.mktemp("processes"))
    torch.multiprocessing.start_processes(
        one_process, (folder,), 2, start_method="spawn"
    )
    return [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize(("kind", "share", "dtype"), CASES)
def test_two_processes_with_uneven_batches_equal_one_process(
    processes, kind, share, dtype
):
    whole = train(kind, DTYPES[dtype][0], slice(0, 8), sync=False)
    parts = [found[f"{kind} {share} {dtype}"] for found in processes]
    tolerance = DTYPES[dtype][1]
    for expected, *steps in zip(
        whole["steps"], *(part["steps"] for part in parts), strict=True
    ):
        together = {
            key: torch.cat([step[key] for step in steps]) for key in ("y", "dx")
        }
        for key, value in together.items():
            torch.testing.assert_close(
                value, expected[key], rtol=tolerance, atol=tolerance
            )
        for step in steps:
            torch.testing.assert_close(
                step["gradients"],
                expected["gradients"],
                rtol=tolerance,
                atol=5 * tolerance,
            )  # long sums
    for part in parts:
        torch.testing.assert_close(
            part["buffers"], whole["buffers"], rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("name", [*OPTIONS, *HALVES])
def test_options_and_half_precision_equal_one_process(processes, name):
    dtype, tolerance = HALVES.get(name, (torch.float64, 1e-10))
    expected, expected_state = steps_with(
        OPTIONS.get(name, {}), dtype, slice(0, 8), sync=False
    )
    parts = [found[name] for found in processes]
    for key, value in expected.items():
        together = torch.cat([samples[key] for samples, _ in parts])
        assert together.dtype == dtype
        torch.testing.assert_close(together, value, rtol=tolerance, atol=tolerance)
    for _, state in parts:
        torch.testing.assert_close(
            state, expected_state, rtol=tolerance, atol=10 * tolerance
        )  # long sums


def test_it_compiles_into_one_graph(tmp_path):
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        layer, x = BatchNorm(4, 2, sync=True), draw((4, 3, 2), torch.float32, 0)
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), BatchNorm(4, 2)(x))
    finally:
        distributed.destroy_process_group()


def test_the_statistics_of_both_processes_are_the_same_bits(processes):
    for kind, share, dtype in CASES:
        first, second = (
            found[f"{kind} {share} {dtype}"]["buffers"] for found in processes
        )
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_one_collective_forward_one_backward_none_in_evaluation(processes):
    for found in processes:
        assert found["collectives"] == {
            "forward": ["all_gather_into_tensor"],
            "backward": ["all_reduce"],
            "evaluation": [],
        }


def test_one_value_over_all_processes_is_refused_by_all_of_them(processes):
    for found in processes:
        assert found["error"].startswith(
            "expected more than one value per channel over all processes"
        )


@pytest.mark.parametrize(("dim", "shape"), SHAPES.values())
def test_without_processes_it_is_plain_batch_norm(dim, shape):
    plain, alone = BatchNorm(4, dim).double(), BatchNorm(4, dim, sync=True).double()
    x = draw(shape, torch.float64, 0)
    assert torch.equal(alone(x), plain(x))
    assert torch.equal(alone.running_var, plain.running_var)
