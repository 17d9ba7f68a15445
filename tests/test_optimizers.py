"""Every optimizer of conf/: the steps of its library, groups, rates and resuming."""

import copy
import signal

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.identity import configuration_directory, run_folder
from normlab.endings import Interrupted
from normlab.norms import normalize_weights
from normlab.norms.parameters import mark_norm
from normlab.optimizers import hidden_weights
from normlab.training.build import build_optimizer
from normlab.training.checkpoint_files import load
from normlab.training.checkpoints import Checkpoints
from normlab.training.experiment import run

timm_optim = pytest.importorskip("timm.optim", reason="timm is not installed")
schedulefree = pytest.importorskip("schedulefree", reason="it is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")

NAMES = sorted(
    path.stem for path in (configuration_directory() / "optimizer").glob("*.yaml")
)


def schedule_free(groups, lr):
    optimizer = schedulefree.AdamWScheduleFree(groups, lr=lr)
    optimizer.train()
    return optimizer


# What each option of conf/ should be, apart from Muon, whose groups are divided.
REFERENCES = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adagrad": (torch.optim.Adagrad, {}),
    "nadam": (torch.optim.NAdam, {}),
    "adafactor": (torch.optim.Adafactor, {}),
    "lion": (timm_optim.Lion, {}),
    "lamb": (timm_optim.Lamb, {}),
    "timm": (timm_optim.Adan, {}),
    "sam": (torch.optim.SGD, {"momentum": 0.9}),  # without its second pass
    "schedule_free": (schedule_free, {}),
}


@pytest.fixture
def options(compose):
    def make(*overrides):
        composed = compose(*overrides)
        return OmegaConf.to_container(composed, resolve=True)["optimizer"]

    return make


def make_network():
    """A convolution, two hidden layers with a norm, and an output, with random data."""
    torch.manual_seed(5)
    network = nn.Sequential(
        *(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 2), nn.Flatten()),
        *(nn.Linear(16, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2)),
    )
    for value in network.parameters():
        nn.init.normal_(value, std=0.5)
    return network


def make_steps(network, optimizer, num_steps=3):
    generator = torch.Generator().manual_seed(7)
    for _ in range(num_steps):
        inputs = torch.randn(8, 1, 5, 5, generator=generator)
        targets = torch.randn(8, 2, generator=generator)
        optimizer.zero_grad()
        (network(inputs) - targets).square().mean().backward()
        optimizer.step()


def assert_same_weights(network, other):
    for name, value in other.named_parameters():
        torch.testing.assert_close(
            network.get_parameter(name), value, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_options_are_these(name):
    assert name in {*REFERENCES, "muon"}


@pytest.mark.parametrize("name", REFERENCES)
def test_three_steps_are_those_of_the_library(options, name):
    network = make_network()
    reference = copy.deepcopy(network)
    settings = options(
        f"optimizer={name}", "optimizer.lr=0.02", "optimizer.weight_decay=0.3"
    )
    make_steps(network, build_optimizer(settings, network))

    kind, arguments = REFERENCES[name]
    matrices = [value for value in reference.parameters() if value.ndim >= 2]
    vectors = [value for value in reference.parameters() if value.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.3},
        {"params": vectors, "weight_decay": 0.0},
    ]
    make_steps(reference, kind(groups, lr=0.02, **arguments))
    assert_same_weights(network, reference)


@pytest.mark.parametrize("decay_rank_one", [False, True])
def test_muon_and_adamw_make_the_steps_of_pytorch(options, decay_rank_one):
    network = nn.Sequential(nn.Flatten(), nn.Linear(25, 16), *make_network()[3:])
    reference = copy.deepcopy(network)
    settings = options(
        "optimizer=muon",
        "optimizer.lr=0.02",
        "optimizer.weight_decay=0.3",
        f"optimizer.decay_rank_one={decay_rank_one}",
    )
    make_steps(network, build_optimizer(settings, network))

    first, hidden, last = [value for value in reference.parameters() if value.ndim == 2]
    vectors = [value for value in reference.parameters() if value.ndim < 2]
    muon = torch.optim.Muon(
        [hidden], lr=0.02, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"
    )
    rank_one_decay = 0.3 if decay_rank_one else 0.0
    adamw = torch.optim.AdamW(
        [
            {"params": [first, last], "weight_decay": 0.3},
            {"params": vectors, "weight_decay": rank_one_decay},
        ],
        lr=0.02,
    )

    class Both:
        def zero_grad(self):
            reference.zero_grad()

        def step(self):
            muon.step()
            adamw.step()

    make_steps(reference, Both())
    assert_same_weights(network, reference)


@pytest.mark.parametrize("channels_last", [False, True])
def test_muon_takes_a_convolution_for_a_matrix(options, channels_last):
    """The first update is orthogonal, up to what Newton-Schulz leaves."""
    network = make_network()
    weight = network[1].weight
    if channels_last:
        network.to(memory_format=torch.channels_last)
    before = weight.detach().clone()
    settings = options(
        "optimizer=muon",
        "optimizer.lr=0.5",
        "optimizer.weight_decay=0",
        "optimizer.adjust_lr_fn=original",
    )
    optimizer = build_optimizer(settings, network)
    make_steps(network, optimizer, num_steps=1)
    update = ((weight.detach() - before) / 0.5).reshape(4, 12)
    values = torch.linalg.svdvals(update)
    assert ((values > 0.4) & (values < 1.4)).all()
    # The same direction as U V^T of the gradient, which the momentum begins with.
    left, _, right = torch.linalg.svd(weight.grad.reshape(4, 12), full_matrices=False)
    cosine = torch.cosine_similarity(-update.flatten(), (left @ right).flatten(), dim=0)
    assert cosine > 0.95
    assert optimizer.state[weight]["momentum_buffer"].shape == (4, 12)


def test_hidden_weights_are_neither_first_nor_last_nor_lengths():
    network = make_network()
    weights = hidden_weights(network)
    assert [tuple(value.shape) for value in weights] == [(4, 3, 2, 2), (5, 16)]
    embedding = nn.Sequential(
        nn.Embedding(9, 4), nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2)
    )
    assert hidden_weights(embedding) == [embedding[2].weight]
    normalized = normalize_weights(make_network())
    shapes = [tuple(value.shape) for value in hidden_weights(normalized)]
    assert shapes == [(4, 3, 2, 2), (5, 16)]


def test_scales_of_norms_are_no_hidden_weights():
    network = make_network()
    network[4].weight = nn.Parameter(torch.ones(1, 5))
    assert any(value is network[4].weight for value in hidden_weights(network))
    mark_norm(network[4])
    shapes = [tuple(value.shape) for value in hidden_weights(network)]
    assert shapes == [(4, 3, 2, 2), (5, 16)]


def test_muon_without_hidden_layers_is_refused(options):
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    build_optimizer(options("optimizer=muon"), network)
    network[1].requires_grad_(False)
    with pytest.raises(ValueError, match="the network has none to train"):
        build_optimizer(options("optimizer=muon"), network)


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_and_rate_reach_every_group(options, name):
    settings = options(
        f"optimizer={name}", "optimizer.lr=0.03", "optimizer.weight_decay=0.3"
    )
    optimizer = build_optimizer(settings, make_network())
    members = 0
    for group in optimizer.param_groups:
        assert group["lr"] == 0.03
        ranks = {value.ndim >= 2 for value in group["params"]}
        assert ranks == {group["weight_decay"] == 0.3}
        members += len(group["params"])
    assert members == 10


def points(optimizer, weights):
    """The weights inside and after a visit of the worst point nearby."""
    with optimizer.perturbed():
        inside = weights.detach().clone()
    return inside.tolist(), weights.tolist()


@pytest.mark.parametrize(
    ("adaptive", "moved"),
    [(False, [0.3, 0.4]), (True, [0.5 * 27 / 337**0.5, 0.5 * 64 / 337**0.5])],
)
def test_sam_looks_at_the_worst_point_nearby(options, adaptive, moved):
    """The gradient is (3, 4); times the weights it is (9, 16)."""
    weights = nn.Parameter(torch.tensor([3.0, -4.0]))
    without_gradient = nn.Parameter(torch.tensor([1.0]))
    settings = options("optimizer=sam", "optimizer.rho=0.5")
    settings["adaptive"] = adaptive
    network = nn.Module()
    network.weights = weights
    network.idle = without_gradient
    optimizer = build_optimizer(settings, network)
    (0.5 * weights.square().sum()).backward()
    inside, after = points(optimizer, weights)
    assert inside == pytest.approx([3 + moved[0], -4 - moved[1]])
    assert after == [3.0, -4.0]
    assert without_gradient.item() == 1.0


def test_sam_at_a_minimum_stays_where_it_is(options):
    network = nn.Linear(2, 1)
    optimizer = build_optimizer(options("optimizer=sam"), network)
    (0 * network(torch.ones(1, 2))).sum().backward()
    before = network.weight.tolist()
    assert points(optimizer, network.weight) == (before, before)


def test_sam_steps_by_any_optimizer_of_pytorch(options):
    network = make_network()
    reference = copy.deepcopy(network)
    settings = options(
        "optimizer=sam",
        "optimizer.lr=0.02",
        "optimizer.base._target_=torch.optim.RMSprop",
        "~optimizer.base.nesterov",
        "~optimizer.base.fused",
    )
    optimizer = build_optimizer(settings, network)
    make_steps(network, optimizer)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    make_steps(network, optimizer)
    expected = torch.optim.RMSprop(reference.parameters(), lr=0.02, momentum=0.9)
    make_steps(reference, expected)
    make_steps(reference, expected)
    assert_same_weights(network, reference)


def test_sam_refuses_a_distance_that_is_none(options):
    with pytest.raises(ValueError, match="rho must be above 0, got 0"):
        build_optimizer(options("optimizer=sam") | {"rho": 0}, make_network())


def test_timm_has_optimizers_by_name_and_with_options(options):
    settings = options(
        "optimizer=timm",
        "optimizer.name=lookahead_radam",
        "+optimizer.options.betas=[0.5,0.6]",
    )
    optimizer = build_optimizer(settings, make_network())
    assert type(optimizer).__name__ == "Lookahead"
    assert type(optimizer._base_optimizer) is torch.optim.RAdam
    assert [group["betas"] for group in optimizer.param_groups] == [[0.5, 0.6]]
    with pytest.raises(ValueError, match="got 'lionn', did you mean 'lion'"):
        build_optimizer(settings | {"name": "lionn"}, make_network())
    other = {"name": "lion", "options": {"gamma": 1}}
    with pytest.raises(ValueError, match="do not fit timm's lion: .*'gamma'"):
        build_optimizer(settings | other, make_network())


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_resumes_to_the_same_bits(compose, monkeypatch, tmp_path, name):
    """An epoch has 4 steps. The run is killed in its second epoch."""

    def settings(folder):
        composed = compose(
            f"optimizer={name}",
            "optimizer.lr=0.01",
            "optimizer.weight_decay=0.1",
            "scheduler=multi_step",
            "scheduler.milestones=[1]",
            "scheduler.warmup_steps=7",
            "trainer.max_epochs=2",
            "trainer.max_samples=256",
            "model.hidden=[8,8]",
            "checkpoint.every_n_steps=1",
            "statistics.every_n_epochs=0",
            "logger=[]",
            "progress=false",
            f"paths.outputs={tmp_path / folder}",
        )
        return OmegaConf.to_container(composed, resolve=True)

    undisturbed = settings("undisturbed")
    expected = run(undisturbed)
    interrupted = settings("interrupted")
    _kill_after(monkeypatch, 6)
    with pytest.raises(Interrupted):
        run(interrupted)
    monkeypatch.undo()
    assert run(interrupted)["metrics"] == expected["metrics"]

    first, second = [
        load(run_folder(which) / "checkpoints" / "last.ckpt")
        for which in (undisturbed, interrupted)
    ]
    assert first["progress"]["steps"] == second["progress"]["steps"] == 8
    for key, value in first["network"].items():
        assert torch.equal(value, second["network"][key])
    for index, values in first["optimizer"]["state"].items():
        for key, value in values.items():
            other = second["optimizer"]["state"][index][key]
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other))


def _kill_after(monkeypatch, steps):
    """Stop the run as a kill would, after so many steps."""
    original = Checkpoints.on_train_batch_end

    def kill(self, trainer, task, *arguments):
        original(self, trainer, task, *arguments)
        if task.progress.steps >= steps:
            raise Interrupted(signal.SIGKILL)

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", kill)
