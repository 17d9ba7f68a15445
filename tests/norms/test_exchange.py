"""Batch norm in the hands of compilers, exporters, checkpointing and state dicts."""

import copy
import io
import pickle
import shutil
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from normlab.norms import BatchNorm1d, BatchNorm2d, GhostBatchNorm

SHAPE = (6, 4, 5, 3)


def draw(*shape, seed=0, dtype=torch.float64):
    return (
        torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        .mul(2)
        .add(3)
        .to(dtype)
    )


def step(call, layer, x, dy):
    """Output, gradients and buffers of one training step of `layer` through `call`."""
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = call(x)
    y.backward(dy)
    return [
        y.detach(),
        x.grad,
        *(p.grad for p in layer.parameters()),
        *(b.clone() for b in layer.buffers()),
    ]


def assert_steps_alike(call, layer, twin, steps=3, tolerance=1e-12):
    """`call`, which ends in `layer`, does as `twin` does; both start alike."""
    dy = draw(*SHAPE, seed=9)
    for seed in range(steps):
        x = draw(*SHAPE, seed=seed)
        torch.testing.assert_close(
            step(call, layer, x, dy),
            step(twin, twin, x, dy),
            rtol=tolerance,
            atol=tolerance,
        )


def seasoned(cls=BatchNorm2d, **options):
    """A layer with statistics, scale and shift of its own."""
    layer = cls(SHAPE[1], **options).double()
    layer(draw(*SHAPE, seed=5))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.0, 1.5, -2.0]))
        layer.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 0.5]))
    return layer


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("momentum", [0.1, None])
def test_one_compiled_graph_trains_as_eager_with_its_statistics(momentum):
    layer = seasoned(momentum=momentum)
    twin = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_steps_alike(compiled, layer, twin)
    assert layer.num_batches_tracked.item() == 4
    x = draw(*SHAPE, seed=7)
    torch.testing.assert_close(compiled.eval()(x), twin.eval()(x))


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler needs g++")
def test_generated_kernels_train_as_eager():
    layer = seasoned()
    twin = copy.deepcopy(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's compiler deprecates parts of itself
        assert_steps_alike(torch.compile(layer, fullgraph=True), layer, twin, steps=2)


def test_the_exported_evaluation_graph_takes_any_batch():
    layer, batch = seasoned().eval(), torch.export.Dim("batch", min=2)
    graph = torch.export.export(
        layer, (draw(*SHAPE),), dynamic_shapes=({0: batch},)
    ).module()
    for size in (2, 6, 9):
        x = draw(size, *SHAPE[1:], seed=size)
        torch.testing.assert_close(graph(x), layer(x))


def test_the_exported_training_graph_learns_as_the_layer():
    layer = seasoned()
    graph = torch.export.export(
        copy.deepcopy(layer), (draw(*SHAPE),)
    ).module()  # it shares the buffers of the copy
    assert graph.get_buffer("num_batches_tracked").item() == 1, "tracing is no batch"
    assert dict(graph.named_buffers()).keys() == dict(layer.named_buffers()).keys()
    assert_steps_alike(graph, graph, layer)


def test_onnx_computes_the_same():
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    network = nn.Sequential(seasoned(), nn.Flatten(), BatchNorm1d(60)).float().eval()
    x = draw(*SHAPE, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates parts of itself
        program = torch.onnx.export(network, (x,), dynamo=True, verbose=False)
    onnx.checker.check_model(program.model_proto)
    name = program.model_proto.graph.input[0].name
    (y,) = ReferenceEvaluator(program.model_proto).run(None, {name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), network(x).detach())


def checkpointed(network):
    return lambda x: checkpoint(network, x, use_reentrant=False)


@pytest.mark.parametrize("cls", [BatchNorm2d, nn.BatchNorm2d])
def test_checkpointed_activations_are_remembered_twice(cls):
    """The forward pass runs again for the gradient.

    The gradients are right, and the running statistics move twice.
    """
    layer, plain = seasoned(cls), seasoned(cls)
    x, dy = draw(*SHAPE), draw(*SHAPE, seed=1)
    found = step(checkpointed(nn.Sequential(layer, nn.Sigmoid())), layer, x, dy)
    once = step(nn.Sequential(plain, nn.Sigmoid()), plain, x, dy)
    torch.testing.assert_close(found[:4], once[:4])  # output and gradients
    plain(x)
    torch.testing.assert_close(dict(layer.named_buffers()), dict(plain.named_buffers()))
    assert layer.num_batches_tracked.item() == 3  # one of `seasoned`, two for one step


@pytest.mark.parametrize("cls", [BatchNorm2d, nn.BatchNorm2d])
def test_a_momentum_of_half_a_step_makes_up_for_checkpointing(cls):
    """Twice ``1 - sqrt(1 - m)`` is once m."""
    layer, plain = cls(4, momentum=1 - 0.9**0.5).double(), cls(4, momentum=0.1).double()
    x, dy = draw(*SHAPE), draw(*SHAPE, seed=1)
    step(checkpointed(nn.Sequential(layer, nn.Sigmoid())), layer, x, dy)
    plain(x)
    torch.testing.assert_close(layer.running_mean, plain.running_mean)
    torch.testing.assert_close(layer.running_var, plain.running_var)


@pytest.mark.parametrize(("early_stop", "batches"), [(True, 1), (False, 2)])
def test_recomputation_that_stops_early_skips_the_last_layer(early_stop, batches):
    """Recomputation stops at the last saved tensor, which is that of the last norm.

    Its statistics then move once; those of PyTorch's norm move twice.
    """
    layer = BatchNorm2d(4).double()
    with set_checkpoint_early_stop(early_stop):
        step(checkpointed(layer), layer, draw(*SHAPE), draw(*SHAPE, seed=1))
    assert layer.num_batches_tracked.item() == batches


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3), (2, 4, 0)])
def test_no_values_pass_through_in_evaluation(shape):
    for layer in (BatchNorm1d(4).eval(), nn.BatchNorm1d(4).eval()):
        x = torch.empty(shape, requires_grad=True)
        y = layer(x)
        y.sum().backward()
        assert y.shape == shape
        assert layer.weight.grad.tolist() == layer.bias.grad.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3), (2, 4, 0)])
def test_a_batch_of_nothing_is_counted_and_changes_no_statistics(shape, momentum):
    for layer in (
        nn.BatchNorm1d(4, momentum=momentum),
        BatchNorm1d(4, momentum=momentum),
    ):
        x = torch.empty(shape, requires_grad=True)
        y = layer(x)
        y.sum().backward()
        assert y.shape == shape
        assert layer.weight.grad.tolist() == layer.bias.grad.tolist() == [0, 0, 0, 0]
        assert layer.num_batches_tracked.item() == 1
        assert layer.running_mean.tolist() == [0, 0, 0, 0]
        assert layer.running_var.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_casting_the_module_casts_its_buffers_as_torchs(dtype):
    ours, theirs = BatchNorm2d(4).to(dtype), nn.BatchNorm2d(4).to(dtype)
    x = draw(*SHAPE, dtype=dtype)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0.01, atol=0.01)
    for (name, buffer), other in zip(
        ours.named_buffers(), theirs.buffers(), strict=True
    ):
        assert (
            buffer.dtype
            == other.dtype
            == (torch.long if name == "num_batches_tracked" else dtype)
        )
        torch.testing.assert_close(buffer, other, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mixed_precision_keeps_buffers_and_gradients_in_float32(dtype):
    x, dy = draw(*SHAPE, dtype=dtype), draw(*SHAPE, seed=1, dtype=dtype)
    found = []
    for layer in (BatchNorm2d(4), nn.BatchNorm2d(4)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(step(layer, layer, x, dy))
    ours, theirs = found
    assert [value.dtype for value in ours] == [value.dtype for value in theirs]
    assert [value.dtype for value in ours] == [
        dtype,
        dtype,
        *[torch.float32] * 4,
        torch.long,
    ]
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)


def test_state_dicts_through_a_file_load_in_both_directions():
    ours, theirs = seasoned(), seasoned(nn.BatchNorm2d)
    theirs(draw(*SHAPE, seed=8))
    for source, target in (
        (ours, nn.BatchNorm2d(4).double()),
        (theirs, BatchNorm2d(4).double()),
    ):
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        file.seek(0)
        target.load_state_dict(torch.load(file, weights_only=True))
        torch.testing.assert_close(
            target.state_dict(), source.state_dict(), rtol=0, atol=0
        )
        x = draw(*SHAPE, seed=3)
        torch.testing.assert_close(target.eval()(x), source.eval()(x))


def state_without_counter(version):
    state = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4)).state_dict()
    del state["1.num_batches_tracked"]
    for metadata in state._metadata.values():
        if version is None:
            metadata.clear()
        else:
            metadata["version"] = version
    return state


@pytest.mark.parametrize("version", [None, 1])
@pytest.mark.parametrize("cls", [BatchNorm2d, nn.BatchNorm2d])
def test_old_states_without_a_counter_load_into_a_network(cls, version):
    network = nn.Sequential(nn.Conv2d(1, 4, 1), cls(4))
    network[1].num_batches_tracked.fill_(7)
    network.load_state_dict(state_without_counter(version))
    assert network[1].num_batches_tracked.item() == 7, (
        "as torch: the layer's own counter stays"
    )


@pytest.mark.parametrize("cls", [BatchNorm2d, nn.BatchNorm2d])
def test_new_states_without_a_counter_are_refused(cls):
    network = nn.Sequential(nn.Conv2d(1, 4, 1), cls(4))
    with pytest.raises(
        RuntimeError, match=r'Missing key\(s\) in state_dict: "1.num_batches_tracked"'
    ):
        network.load_state_dict(state_without_counter(2))


def test_copies_share_nothing_and_go_on_alike():
    layer = seasoned()
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    for tensor in layer.state_dict().values():
        tensor.zero_()
    fresh = seasoned()
    for twin in twins:
        assert_steps_alike(twin, twin, copy.deepcopy(fresh), tolerance=0)


@pytest.mark.parametrize(
    "make", [BatchNorm2d, nn.BatchNorm2d, lambda c: GhostBatchNorm(c, 2, size=2)]
)
def test_evaluation_with_gradients_differentiates_by_constants(make):
    """dy/dx is weight / sqrt(running_var + eps), whatever else is in the batch."""
    layer = seasoned(make).eval()
    x = draw(*SHAPE).requires_grad_()
    layer(x).sum().backward()
    expected = (layer.weight / (layer.running_var + layer.eps).sqrt()).detach()
    torch.testing.assert_close(x.grad, expected.view(1, -1, 1, 1).expand(SHAPE))
    assert layer.num_batches_tracked.item() == 1


@pytest.mark.parametrize("cls", [BatchNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_training_mode_without_gradients_remembers_the_batch(cls, mode):
    layer, x = cls(4).double(), draw(*SHAPE)
    with mode():
        y = layer(x)
    assert not y.requires_grad
    torch.testing.assert_close(layer.running_mean, 0.1 * x.mean((0, 2, 3)))
    torch.testing.assert_close(
        layer.running_var, 0.9 + 0.1 * x.transpose(0, 1).flatten(1).var(1)
    )


@pytest.mark.parametrize("cls", [BatchNorm2d, nn.BatchNorm2d])
def test_frozen_weights_do_not_freeze_statistics(cls):
    layer = cls(4).double().requires_grad_(False)
    layer(draw(*SHAPE))
    assert layer.num_batches_tracked.item() == 1
    assert layer.running_mean.abs().min() > 0
