import copy
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.identity import run_folder
from normlab.config.targets import build
from normlab.data.blocks import Block, Part
from normlab.device.devices import evaluation_context
from normlab.evaluation.evaluate import evaluate_run
from normlab.evaluation.statistics import (
    batches_in_random_order,
    recalibrate,
    statistics_of_the_batch,
)
from normlab.models import RecurrentNetwork
from normlab.models.recurrent import StepNorm
from normlab.norms import BatchNorm1d, EvoNormB0, FrozenBatchNorm
from normlab.training.experiment import run

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "evaluate.py"
RUNNING = [
    "custom",
    "torch",
    "ghost",
    "batch_renorm",
    "noisy_batch",
]  # by running mean and variance
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    from normlab.config.identity import configuration_directory

    folder = tmp_path_factory.mktemp("outputs")
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        overrides = [
            "trainer.max_epochs=2",
            "progress=false",
            f"paths.outputs={folder}",
        ]
        config = compose("config", overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    plain = OmegaConf.to_container(config, resolve=False)
    del plain["hydra"]
    plain = OmegaConf.to_container(OmegaConf.create(plain), resolve=True)
    return run_folder(plain), run(plain), plain


def test_a_stored_run_scores_as_it_did(stored):
    folder, result, _ = stored
    assert evaluate_run(folder) == result["metrics"]


def test_its_own_data_by_name_score_alike(stored):
    folder, result, config = stored
    assert evaluate_run(folder, dataset=config["dataset"]) == result["metrics"]


def test_statistics_change_the_score_but_not_much(stored):
    folder, result, _ = stored
    for statistics in ("batch", "recalibrated"):
        metrics = evaluate_run(folder, statistics=statistics)
        assert metrics["test/loss"] != result["metrics"]["test/loss"]
        assert metrics["test/accuracy"] == pytest.approx(
            result["metrics"]["test/accuracy"], abs=0.05
        )


def test_mistakes_are_named(stored, tmp_path):
    folder = stored[0]
    with pytest.raises(ValueError, match="must be the folder of a run"):
        evaluate_run(tmp_path)
    with pytest.raises(
        ValueError,
        match="statistics must be one of running, batch, recalibrated, frozen, got",
    ):
        evaluate_run(folder, statistics="moving")
    with pytest.raises(ValueError, match="at least one batch, got 0"):
        evaluate_run(folder, statistics="recalibrated", num_batches=0)


def test_frozen_statistics_are_the_stored_ones(stored):
    folder, result, _ = stored
    assert evaluate_run(folder, statistics="frozen") == result["metrics"]


def test_the_number_of_batches_matters_for_recalibrated_statistics(stored):
    folder = stored[0]
    few, more = (
        evaluate_run(folder, statistics="recalibrated", num_batches=number)
        for number in (1, 20)
    )
    assert few["test/loss"] != more["test/loss"]


@pytest.fixture
def make(compose):
    def make_norm(name, num_features, dim=1, **options):
        settings = OmegaConf.to_container(compose(f"norm={name}").norm, resolve=True)
        return build(settings | options)(num_features, dim)

    return make_norm


def blocks_of(*batches):
    return (
        Block(torch.tensor(batch)[:, None], torch.zeros(len(batch)), len(batch))
        for batch in batches
    )


@pytest.mark.parametrize("name", RUNNING)
def test_recalibration_is_the_mean_over_batches(make, name):
    network = nn.Sequential(make(name, 1, momentum=0.5), nn.Dropout(0.9))
    network(torch.tensor([[50.0], [90.0]]))
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]))
    assert network[0].running_mean.tolist() == [3.5]  # of 1 and 6
    assert network[0].running_var.tolist() == [5.0]  # of 2 and 8
    assert network[0].momentum == 0.5
    assert not network.training


@pytest.mark.parametrize("name", RUNNING)
def test_recalibration_of_a_layer_called_twice_is_the_mean_over_calls(make, name):
    layer = make(name, 1, affine=False)
    recalibrate(
        nn.Sequential(layer, layer), blocks_of([0.0, 2.0], [4.0, 8.0], [1.0, 3.0])
    )
    # The second calls see batches of mean 0 and, unbiased, variance 2.
    assert layer.running_mean.item() == pytest.approx((1 + 6 + 2) / 6)
    assert layer.running_var.item() == pytest.approx((2 + 8 + 2 + 3 * 2) / 6, rel=1e-4)


@pytest.mark.parametrize("name", ["custom", "noisy_batch", "batch_renorm"])
def test_recalibration_of_a_second_norm_is_without_noise_or_correction(make, name):
    options = {"warmup_steps": 0, "ramp_steps": 0} if name == "batch_renorm" else {}
    network = nn.Sequential(make(name, 1, **options), make(name, 1, **options))
    with torch.no_grad():
        network[0].bias.fill_(3.0)
    state = torch.get_rng_state()
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]))
    assert network[1].running_mean.tolist() == [3.0]
    assert network[1].running_var.item() == pytest.approx(2.0, rel=1e-4)
    assert torch.equal(state, torch.get_rng_state())
    network.train()(torch.tensor([[0.0], [2.0]]))
    assert torch.equal(state, torch.get_rng_state()) == (
        name != "noisy_batch"
    )  # in training as before


@pytest.mark.parametrize("name", RUNNING)
def test_statistics_of_the_batch_remember_nothing(make, name):
    network = nn.Sequential(make(name, 1)).eval()
    before = copy.deepcopy(network.state_dict())
    x = torch.tensor([[4.0], [8.0]])
    with statistics_of_the_batch(network, True):
        torch.testing.assert_close(network(x), torch.tensor([[-1.0], [1.0]]))
    assert network(x)[0].item() == pytest.approx(4.0, rel=1e-4)
    assert all(
        torch.equal(before[key], value) for key, value in network.state_dict().items()
    )


@pytest.mark.parametrize("name", RUNNING)
def test_recalibration_of_every_time_step_is_the_mean_over_its_batches(make, name):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = StepNorm(make(name, 1), max_steps=2, gamma=None, shift=True)

        def forward(self, x):
            return [
                self.norm((step + 1) * x, step) for step in range(3)
            ]  # the third step has those of the second

    network = Steps()
    network(torch.tensor([[50.0], [90.0]]))
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]))
    torch.testing.assert_close(
        network.norm.norm.running_mean, torch.tensor([[3.5], [3.5 * (2 + 3) / 2]])
    )
    torch.testing.assert_close(
        network.norm.norm.running_var, torch.tensor([[5.0], [5.0 * (4 + 9) / 2]])
    )
    assert network.norm.norm.num_batches_tracked.tolist() == [2, 4]
    assert network.norm.norm.momentum == 0.1


@pytest.mark.parametrize("name", ["custom", "torch"])
def test_a_recalibrated_lstm_of_one_batch_gives_what_the_batch_gives(make, name):
    torch.manual_seed(0)
    network, x = (
        RecurrentNetwork((1, 8, 8), 3, partial(make, name), hidden=4),
        torch.randn(6, 1, 8, 8),
    )
    recalibrate(network, [Block(x, torch.zeros(6), 6)] * 3)
    for layer in network.modules():
        if hasattr(layer, "running_var"):
            layer.running_var *= (
                6 - 1
            ) / 6  # the biased one, by which a batch normalizes
    found = network(x)
    with statistics_of_the_batch(network, True):
        torch.testing.assert_close(found, network(x), rtol=1e-4, atol=1e-4)


def evonorm():
    layer = EvoNormB0(1, 1)
    layer.running_var.fill_(100.0)
    return layer


def test_evonorm_called_twice_recalibrates_to_the_mean_over_calls():
    layer = evonorm()
    recalibrate(nn.Sequential(layer, layer), blocks_of([0.0, 200.0], [0.0, 400.0]))
    # x / max(deviation, x) is 0 and 1, of unbiased variance .5: the second calls
    assert layer.running_var.item() == pytest.approx((20_000 + 0.5 + 80_000 + 0.5) / 4)


def test_evonorm_recalibrates_its_variance():
    network = nn.Sequential(evonorm())
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]))
    assert network[0].running_var.tolist() == [5.0]  # of 2 and 8
    assert network[0].momentum == 0.1
    assert not network[0].training


def test_evonorm_by_the_statistics_of_the_batch_remembers_nothing():
    layer, x = evonorm().eval(), torch.tensor([[1.0], [3.0]])  # biased variance 1
    with statistics_of_the_batch(nn.Sequential(layer), True):
        y = layer.eval()(x)
    torch.testing.assert_close(
        y, torch.tensor([[1.0], [1.0]]), atol=1e-2, rtol=0
    )  # x / max(1, x)
    assert layer.running_var.tolist() == [100.0]
    assert not layer.training
    torch.testing.assert_close(
        layer(x), torch.tensor([[0.1], [0.3]]), atol=1e-2, rtol=0
    )  # x / max(10, x)


@pytest.mark.parametrize("norm", [FrozenBatchNorm(1, 1), nn.Identity()])
def test_a_norm_that_averages_nothing_has_only_what_is_stored(norm):
    network = nn.Sequential(norm)
    with pytest.raises(
        ValueError, match="keeps no statistics of batches; use --statistics running"
    ):
        recalibrate(network, blocks_of([4.0, 8.0]))
    with (
        pytest.raises(
            ValueError, match="keeps no statistics of batches; use --statistics running"
        ),
        statistics_of_the_batch(network, True),
    ):
        pass


def test_recalibration_runs_under_the_context_of_the_run():
    network = nn.Sequential(nn.Linear(1, 1), BatchNorm1d(1))
    seen = []
    network[1].register_forward_pre_hook(
        lambda layer, inputs: seen.append(inputs[0].dtype)
    )
    context = evaluation_context("bf16-mixed", torch.device("cpu"))
    recalibrate(network, blocks_of([4.0, 8.0]), context)
    assert seen == [torch.bfloat16]


def test_random_batches_hold_every_sample_once_and_none_alone():
    class Plain:
        def evaluate(self, inputs):
            return inputs

    part = Part(torch.arange(9.0)[:, None], torch.arange(9), torch.arange(9), Plain())
    blocks = batches_in_random_order(part, 4)
    assert [len(block.targets) for block in blocks] == [4, 5]
    assert sorted(torch.cat([block.targets for block in blocks]).tolist()) == list(
        range(9)
    )


@pytest.fixture
def evaluate_script(monkeypatch):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, words)])
        for name in (
            "TORCH_FORCE_WEIGHTS_ONLY_LOAD",
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
        ):
            monkeypatch.setenv(name, "0")  # what the script sets ends with the test
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return call


def test_the_command_line_shows_the_scores(evaluate_script, stored, capsys):
    folder, result, _ = stored
    evaluate_script(folder)
    text = capsys.readouterr().out
    assert text.splitlines()[0] == f"{folder.name}, running statistics"
    assert f"{result['metrics']['test/accuracy']:.4f}" in text
    evaluate_script(
        folder,
        "--dataset",
        "digits",
        "dataset.validation=0.3",
        "--statistics",
        "recalibrated",
    )
    assert (
        capsys.readouterr().out.splitlines()[0]
        == f"{folder.name} on digits, recalibrated statistics"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--statistics", "moving"], "error: statistics must be one of running"),
        (["--dataset", "digit"], "error: "),
        (
            ["--statistics", "recalibrated", "--batches", "0"],
            "error: recalibrated statistics need at least one batch",
        ),
    ],
)
def test_the_command_line_names_mistakes_with_exit_code_2(
    evaluate_script, stored, capsys, words, message
):
    with pytest.raises(SystemExit) as ended:
        evaluate_script(stored[0], *words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(message)
