import copy

import pytest
import torch
from torch import Tensor, nn

from models.helpers import Activating, batch_norm, no_norm, torch_norm
from normlab.models import RecurrentNetwork
from normlab.models.recurrent import NormLSTM, StepNorm
from normlab.norms import InstanceBatchNorm


def test_without_a_norm_it_is_pytorchs_lstm():
    torch.manual_seed(0)
    own = NormLSTM(3, 4, no_norm, 5, None, noise=0.0, forget_bias=1.0)
    reference = nn.LSTM(3, 4, batch_first=True)
    reference.weight_ih_l0.data.copy_(own.weight_x)
    reference.weight_hh_l0.data.copy_(own.weight_h)
    reference.bias_ih_l0.data.copy_(own.bias)
    reference.bias_hh_l0.data.zero_()
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(own(x), reference(x)[0][:, -1])
    assert own.bias[4:8].tolist() == [1.0] * 4


@pytest.mark.parametrize("norm", [batch_norm, torch_norm])
def test_every_step_has_its_own_statistics(norm):
    layer = StepNorm(norm(2, 1), max_steps=3, gamma=None, shift=True)
    assert layer.norm.running_mean.shape == (3, 2)
    for step, value in enumerate((1.0, 2.0, 4.0)):
        layer(torch.tensor([[value, 0.0], [value, 2.0]]), step)
    torch.testing.assert_close(
        layer.norm.running_mean, torch.tensor([[0.1, 0.1], [0.2, 0.1], [0.4, 0.1]])
    )
    torch.testing.assert_close(layer.norm.running_var, torch.tensor([[0.9, 1.1]] * 3))
    assert layer.norm.num_batches_tracked.tolist() == [1, 1, 1]


class Replacing(nn.Module):
    """A norm that puts new tensors in the place of its buffers."""

    def __init__(self, num_features: int, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, num_features))
        self.beta = nn.Parameter(torch.zeros(1, num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.running_mean
        if self.training:
            mean = x.mean(0)
            self.running_mean = 0.5 * self.running_mean + 0.5 * mean
            self.steps = self.steps + 1
        return self.gamma * (x - mean) + self.beta


def test_buffers_that_a_norm_replaces_are_kept_for_their_step():
    layer = StepNorm(Replacing(1, 1), max_steps=2, gamma=1.0, shift=True)
    for step, value in enumerate((2.0, 4.0, 8.0)):
        x = torch.tensor([[value], [value]], requires_grad=True)
        layer(x, step).sum().backward()
    # The third step shares those of the second: 0.5 * 2 + 0.5 * 8.
    assert layer.norm.running_mean.tolist() == [[1.0], [5.0]]
    assert layer.norm.steps.tolist() == [1, 2]
    layer.eval()
    assert layer(torch.tensor([[3.0]]), 0).tolist() == [[2.0]]
    layer.keep_first_step()
    assert layer.norm(torch.tensor([[3.0]])).tolist() == [[2.0]]


def test_evaluation_uses_the_statistics_of_each_step():
    layer = StepNorm(batch_norm(1, 1), max_steps=2, gamma=1.0, shift=True).eval()
    layer.norm.running_mean.copy_(torch.tensor([[1.0], [5.0]]))
    layer.norm.running_var.copy_(torch.tensor([[4.0], [1.0]]))
    x = torch.tensor([[7.0]])
    assert layer(x, 0).item() == pytest.approx(3, abs=1e-4)
    assert layer(x, 1).item() == pytest.approx(2, abs=1e-4)
    assert layer(x, 9).item() == pytest.approx(2, abs=1e-4)


def test_initial_scale_and_absent_shift():
    lstm = NormLSTM(3, 4, batch_norm, 5, None, 0.1, 0.0)
    assert lstm.norm_x.norm.weight.unique().item() == pytest.approx(0.1)
    assert not lstm.norm_x.norm.bias.requires_grad
    assert not lstm.norm_h.norm.bias.requires_grad
    assert lstm.norm_c.norm.bias.requires_grad
    layer = NormLSTM(3, 4, lambda c, d: nn.LayerNorm(c), 5, None, 0.1, 0.0)
    assert layer.norm_c.norm.weight.unique().item() == 1
    assert (
        NormLSTM(3, 4, lambda c, d: nn.LayerNorm(c), 5, 0.5, 0.1, 0.0)
        .norm_c.norm.weight.unique()
        .item()
        == 0.5
    )


def test_initial_scale_and_absent_shift_of_norms_with_other_names():
    lstm = NormLSTM(3, 4, Replacing, 5, None, 0.1, 0.0)
    assert lstm.norm_x.norm.gamma.unique().item() == pytest.approx(0.1)
    assert not lstm.norm_x.norm.beta.requires_grad
    assert lstm.norm_c.norm.beta.requires_grad


def test_initial_scale_and_absent_shift_of_norms_inside_of_a_norm():
    lstm = NormLSTM(3, 4, InstanceBatchNorm, 5, None, 0.1, 0.0)
    inner = lstm.norm_h.norm
    for part in (inner.instance, inner.batch):
        assert part.weight.unique().item() == pytest.approx(0.1)
        assert not part.bias.requires_grad
    assert lstm.norm_c.norm.batch.bias.requires_grad


class Gate(nn.Linear):
    """A linear layer of a user."""


class Gated(nn.Module):
    """A norm with a linear layer, which is no scale."""

    def __init__(self, num_features: int, dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(num_features, num_features)
        self.gain = nn.Parameter(torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x * self.gate(x).sigmoid()


def test_linear_layers_inside_of_a_norm_are_left_alone():
    norm = Gated(2, 1)
    before = norm.gate.weight.clone()
    StepNorm(norm, 3, gamma=0.5, shift=False)
    assert norm.gain.tolist() == [0.5, 0.5]
    assert norm.gate.weight.equal(before)
    assert norm.gate.bias.requires_grad


@pytest.mark.parametrize("gate", [nn.Linear(2, 2), Gate(2, 2), nn.Conv1d(2, 2, 1)])
def test_weights_behind_an_inner_norm_are_no_scales(gate):
    norm = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(gate))
    before = gate.weight.clone()
    StepNorm(norm, 3, gamma=None, shift=False)
    assert norm[0].weight.tolist() == pytest.approx([0.1, 0.1])
    assert gate.weight.equal(before)
    assert gate.bias.requires_grad


class Around(nn.Module):
    """A norm with a scale of its own around another, whose scale it multiplies."""

    def __init__(self, num_features: int, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.inner = nn.BatchNorm1d(num_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * self.inner(x)


def test_only_the_outer_scale_is_set():
    layer = StepNorm(Around(2, 1), 3, gamma=None, shift=False)
    assert layer.norm.gamma.tolist() == pytest.approx([0.1, 0.1])
    assert layer.norm.inner.weight.tolist() == [1.0, 1.0]
    assert not layer.norm.inner.bias.requires_grad


class Sloped(nn.Module):
    """A norm without a scale of its own, with another norm and an activation."""

    def __init__(self, num_features: int, dim: int) -> None:
        super().__init__()
        self.parts = nn.Sequential(nn.BatchNorm1d(num_features), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x)


def test_slopes_inside_of_a_norm_are_no_scales():
    norm = Sloped(2, 1)
    StepNorm(norm, 3, gamma=None, shift=False)
    batch, activation = norm.parts
    assert batch.weight.tolist() == pytest.approx([0.1, 0.1])
    assert activation.weight.tolist() == [0.25]


def test_norms_inside_of_a_norm_may_have_any_name():
    norm = nn.Sequential(Replacing(2, 1))
    StepNorm(norm, 3, gamma=None, shift=False)
    assert norm[0].gamma.unique().tolist() == pytest.approx([0.1])


class Scaled(nn.Module):
    """A norm whose running scale is part of its graph."""

    def __init__(self, num_features: int, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.register_buffer("running_scale", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            self.running_scale.mul_(2)
            return x * self.running_scale
        y = x * self.running_scale
        self.running_scale = 2 * self.running_scale
        return y


@pytest.mark.parametrize("in_place", [True, False])
def test_buffers_may_be_part_of_the_graph(in_place):
    layer = StepNorm(Scaled(1, in_place), max_steps=2, gamma=None, shift=True)
    x = torch.ones(1, 1, requires_grad=True)
    outputs = [layer(x, step) for step in (0, 1, 2)]
    sum(outputs).backward()
    # The third step shares the buffer of the second.
    expected = 2.0 + 2.0 + 4.0 if in_place else 1.0 + 1.0 + 2.0
    assert x.grad.item() == expected
    assert layer.norm.running_scale.tolist() == [[2.0], [4.0]]


class Growing(nn.Module):
    """A norm whose buffer gets its shape in the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = x.detach().mean(0)
        return x - self.mean


def test_a_buffer_of_another_shape_is_refused():
    layer = StepNorm(Growing(), max_steps=2, gamma=None, shift=True)
    with pytest.raises(
        ValueError,
        match=r"Growing must keep the shape \(1,\) of its buffer mean, of which "
        r"model=recurrent has one per time step, it becomes \(3,\); register it",
    ):
        layer(torch.ones(2, 3), 0)


def test_equals_the_paper_written_out():
    torch.manual_seed(0)
    lstm = NormLSTM(2, 3, batch_norm, 4, None, 0.0, 1.0)
    x, h, c = torch.randn(5, 4, 2), torch.zeros(5, 3), torch.zeros(5, 3)

    def norm(z):
        return 0.1 * (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()

    for t in range(4):
        sums = norm(h @ lstm.weight_h.T) + norm(x[:, t] @ lstm.weight_x.T) + lstm.bias
        i, f, g, o = sums.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * norm(c).tanh()
    torch.testing.assert_close(lstm(x), h)


def test_images_are_read_by_rows_or_pixels():
    x = torch.arange(2 * 2 * 8 * 8.0).view(2, 2, 8, 8)
    seen = []
    for options in ({}, {"read": "pixels"}, {"read": "pixels", "pool": 2}):
        network = RecurrentNetwork((2, 8, 8), 10, no_norm, hidden=3, **options)
        network.lstm.register_forward_hook(
            lambda module, inputs, output: seen.append(inputs[0])
        )
        assert network(x).shape == (2, 10)
    rows, pixels, pooled = seen
    assert rows.shape == (2, 8, 16)
    assert rows[0, 1].tolist() == [
        *range(8, 16),
        *range(72, 80),
    ]  # the second row in both channels
    assert pixels.shape == (2, 64, 2)
    assert pixels[0, 9].tolist() == [9.0, 73.0]
    assert pooled.shape == (2, 16, 2)
    assert pooled[0, 0].tolist() == [4.5, 68.5]


def test_shared_statistics_and_state_dict_round_trip():
    network = RecurrentNetwork((1, 8, 8), 10, batch_norm, hidden=3, max_steps=1)
    assert network.lstm.norm_c.norm.running_mean.shape == (1, 3)
    network(torch.randn(4, 1, 8, 8))
    assert network.lstm.norm_c.norm.num_batches_tracked.tolist() == [8]
    twin = RecurrentNetwork((1, 8, 8), 10, batch_norm, hidden=3, max_steps=1)
    twin.load_state_dict(copy.deepcopy(network).state_dict())
    x = torch.randn(4, 1, 8, 8)
    assert network.eval()(x).equal(twin.eval()(x))


def test_without_buffers_the_batch_normalizes():
    layer = StepNorm(batch_norm(1, 1), max_steps=2, gamma=1.0, shift=True).eval()
    layer.norm.running_mean = layer.norm.running_var = None
    y = layer(torch.tensor([[1.0], [3.0]]), 0)
    torch.testing.assert_close(y, torch.tensor([[-1.0], [1.0]]), atol=1e-4, rtol=0)


def test_noise_is_added_only_in_training():
    torch.manual_seed(0)
    lstm = NormLSTM(3, 4, no_norm, 5, None, 0.1, 1.0)
    x = torch.randn(2, 5, 3)
    assert not lstm(x).equal(lstm(x))
    lstm.eval()
    assert lstm(x).equal(lstm(x))


def test_errors():
    with pytest.raises(
        ValueError,
        match="Activating contains its activation, "
        "which does not fit the gates of an LSTM",
    ):
        RecurrentNetwork((1, 8, 8), 10, Activating)
    with pytest.raises(
        ValueError,
        match=r"model\.read must be one of rows, pixels, got 'row', "
        r"did you mean 'rows'\?",
    ):
        RecurrentNetwork((1, 8, 8), 10, no_norm, read="row")
    with pytest.raises(
        ValueError, match=r"model\.pool=9 leaves nothing of 8 x 8 pixels"
    ):
        RecurrentNetwork((1, 8, 8), 10, no_norm, pool=9)
