import copy

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config import run_folder
from normlab.data.blocks import Block, Part
from normlab.evaluation import batches_in_random_order, evaluate_run, recalibrate, statistics_of_the_batch
from normlab.experiment import run
from normlab.norms import BatchNorm1d, EvoNormB0, FrozenBatchNorm

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    from normlab.config import configuration_directory

    folder = tmp_path_factory.mktemp("outputs")
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        overrides = ["trainer.max_epochs=2", "progress=false", f"paths.outputs={folder}"]
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
        assert metrics["test/accuracy"] == pytest.approx(result["metrics"]["test/accuracy"], abs=0.05)


def test_mistakes_are_named(stored, tmp_path):
    folder = stored[0]
    with pytest.raises(ValueError, match="must be the folder of a run"):
        evaluate_run(tmp_path)
    with pytest.raises(ValueError, match="statistics must be one of running, batch, recalibrated, frozen, got"):
        evaluate_run(folder, statistics="moving")
    with pytest.raises(ValueError, match="at least one batch, got 0"):
        evaluate_run(folder, statistics="recalibrated", num_batches=0)


def test_frozen_statistics_are_the_stored_ones(stored):
    folder, result, _ = stored
    assert evaluate_run(folder, statistics="frozen") == result["metrics"]


def test_the_number_of_batches_matters_for_recalibrated_statistics(stored):
    folder = stored[0]
    few, more = (evaluate_run(folder, statistics="recalibrated", num_batches=number) for number in (1, 20))
    assert few["test/loss"] != more["test/loss"]


@pytest.mark.parametrize("norm", [BatchNorm1d, nn.BatchNorm1d])
def test_recalibration_is_the_mean_over_batches(norm):
    network = nn.Sequential(norm(1, momentum=0.5), nn.Dropout(0.9))
    network(torch.tensor([[50.0], [90.0]]))
    blocks = [
        Block(torch.tensor([[0.0], [2.0]]), torch.zeros(2), 2),
        Block(torch.tensor([[4.0], [8.0]]), torch.zeros(2), 2),
    ]
    recalibrate(network, iter(blocks))
    assert network[0].running_mean.tolist() == [3.5]  # of 1 and 6
    assert network[0].running_var.tolist() == [5.0]  # of 2 and 8
    assert network[0].momentum == 0.5
    assert not network.training


def test_statistics_of_the_batch_remember_nothing():
    network = nn.Sequential(BatchNorm1d(1)).eval()
    before = copy.deepcopy(network.state_dict())
    x = torch.tensor([[4.0], [8.0]])
    with statistics_of_the_batch(network, True):
        torch.testing.assert_close(network(x), torch.tensor([[-1.0], [1.0]]))
    assert network(x)[0].item() == pytest.approx(4.0, rel=1e-4)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def evonorm():
    layer = EvoNormB0(1, 1)
    layer.running_var.fill_(100.0)
    return layer


def test_evonorm_recalibrates_its_variance():
    network = nn.Sequential(evonorm())
    blocks = [
        Block(torch.tensor([[0.0], [2.0]]), torch.zeros(2), 2),
        Block(torch.tensor([[4.0], [8.0]]), torch.zeros(2), 2),
    ]
    recalibrate(network, iter(blocks))
    assert network[0].running_var.tolist() == [5.0]  # of 2 and 8
    assert network[0].momentum == 0.1
    assert not network[0].training


def test_evonorm_by_the_statistics_of_the_batch_remembers_nothing():
    layer, x = evonorm().eval(), torch.tensor([[1.0], [3.0]])  # biased variance 1
    with statistics_of_the_batch(nn.Sequential(layer), True):
        y = layer.eval()(x)
    torch.testing.assert_close(y, torch.tensor([[1.0], [1.0]]), atol=1e-2, rtol=0)  # x / max(1, x)
    assert layer.running_var.tolist() == [100.0]
    assert not layer.training
    torch.testing.assert_close(layer(x), torch.tensor([[0.1], [0.3]]), atol=1e-2, rtol=0)  # x / max(10, x)


def test_a_frozen_norm_keeps_its_statistics():
    network = nn.Sequential(FrozenBatchNorm(1, 1))
    recalibrate(network, iter([Block(torch.tensor([[4.0], [8.0]]), torch.zeros(2), 2)]))
    assert network[0].running_mean.tolist() == [0.0]


def test_random_batches_hold_every_sample_once_and_none_alone():
    class Plain:
        def evaluate(self, inputs):
            return inputs

    part = Part(torch.arange(9.0)[:, None], torch.arange(9), torch.arange(9), Plain())
    blocks = batches_in_random_order(part, 4)
    assert [len(block.targets) for block in blocks] == [4, 5]
    assert sorted(torch.cat([block.targets for block in blocks]).tolist()) == list(range(9))
