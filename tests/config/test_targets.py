import sys
from functools import partial

import pytest
from omegaconf import OmegaConf

from normlab.config.identity import configuration_directory
from normlab.config.targets import build, build_once, check_homes
from normlab.norms import BatchNorm


def configuration(place, target, trusted=()):
    """A configuration with a target at a place, such as `model.hidden[0]`."""
    config = OmegaConf.create({"trusted_packages": list(trusted)})
    if place.endswith("[0]"):
        OmegaConf.update(config, place[:-3], [{"_target_": target}], force_add=True)
    else:
        OmegaConf.update(config, f"{place}._target_", target, force_add=True)
    return OmegaConf.to_container(config)


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("model", "normlab.models.MLP"),
        ("model", "torch.nn.Linear"),
        ("model.hidden[0]", "torch.nn.ReLU"),
        ("norm", "torch.nn.Identity"),
        ("norm", "normlab.norms.torch_batch_norm"),
        ("optimizer", "torch.optim.Adagrad"),
        ("scheduler", "torch.optim.lr_scheduler.ExponentialLR"),
        ("reparametrize", "normlab.norms.standardize_weights"),
        ("dataset.load", "normlab.data.images.mnist"),
        ("logger.csv", "normlab.loggers.csv"),
        ("trial", "normlab.search.pruning.ReportToTrial"),
    ],
)
def test_a_place_may_call_what_it_is_for(place, target):
    check_homes(configuration(place, target))


WRITERS = [
    "torchvision.io.write_file",
    "torchvision.datasets.utils.download_url",
    "normlab.data.downloads.download_file",
    "normlab.data.downloads.download_archive",
    "normlab.data.array_cache.cached_array",
    "pytorch_lightning.core.saving.save_hparams_to_yaml",
    "timm.utils.update_summary",
    "timm.utils.setup_default_logging",
    "timm.utils.get_outdir",
    "torch.nn.modules.module.torch.hub.load",
    "torch.optim.optimizer.torch.load",
    "pytorch_lightning.LightningModule.load_from_checkpoint",
    "normlab.data.images.Path",
]
SITES = [
    *("model", "model.hidden[0]", "norm", "norm.x", "optimizer", "scheduler"),
    *("reparametrize", "dataset.load", "dataset.x", "logger.x", "trial", "task.x"),
]


@pytest.mark.parametrize("place", SITES)
@pytest.mark.parametrize("target", WRITERS)
def test_functions_that_write_or_load_are_refused_everywhere(place, target):
    with pytest.raises(ValueError) as error:
        check_homes(configuration(place, target))
    message = str(error.value)
    assert target in message
    assert place in message


@pytest.mark.parametrize(
    ("place", "target", "message"),
    [
        (
            "optimizer",
            "torch.nn.Linear",
            "optimizer._target_ must be a class derived from "
            "torch.optim.optimizer.Optimizer or named in conf/optimizer, "
            "got 'torch.nn.Linear'",
        ),
        (
            "dataset.load",
            "normlab.norms.BatchNorm",
            "dataset.load._target_ must be named in conf/dataset, "
            "got 'normlab.norms.BatchNorm'",
        ),
        (
            "trainer",
            "torch.nn.Linear",
            "trainer._target_ must be left out: nothing is called there, "
            "got 'torch.nn.Linear'",
        ),
    ],
)
def test_the_message_says_what_the_place_is_for(place, target, message):
    with pytest.raises(ValueError) as error:
        check_homes(configuration(place, target))
    assert str(error.value) == message


@pytest.mark.parametrize(
    "target", ["torch.nn.NoSuchLayer", "torch.nn.no_such_module.Layer"]
)
def test_a_target_that_does_not_exist_is_named(target):
    with pytest.raises(ValueError, match=f"_target_ '{target}' cannot be found"):
        check_homes(configuration("model", target))


def test_every_shipped_file_may_call_what_it_names():
    for group in ("model", "norm", "optimizer", "scheduler"):
        for file in (configuration_directory() / group).glob("*.yaml"):
            target = OmegaConf.load(file).get("_target_")
            if target is not None:
                check_homes(configuration(group, target))


def test_own_code_may_stand_anywhere(tmp_path, monkeypatch):
    (tmp_path / "my_package.py").write_text("def load():\n    return 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    check_homes(configuration("dataset.load", "my_package.load", ["my_package"]))
    with pytest.raises(ValueError, match="not in a trusted package"):
        check_homes(configuration("dataset.load", "my_package.load"))


PACKAGE = """
from functools import partial
import torch
from torch.hub import load as load_from_hub
from torch.nn import LayerNorm
from torch.optim import SGD
from normlab.data.images import digits as load

def norm(num_features, dim):
    return LayerNorm(num_features)

class Mine(LayerNorm):
    @classmethod
    def of_size(cls, size):
        return cls(size)

half = partial(LayerNorm, eps=0.5)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "my_norms.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_norms", None)


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("dataset.load", "my_norms.norm"),
        ("model.hidden[0]", "my_norms.Mine"),
        ("norm", "my_norms.Mine.of_size"),
        ("norm", "my_norms.half"),
        ("norm", "my_norms.LayerNorm"),
        ("dataset.load", "my_norms.load"),
        ("optimizer", "my_norms.SGD"),
    ],
)
def test_a_trusted_package_gives_its_own_and_what_anybody_may_name(
    package, place, target
):
    check_homes(configuration(place, target, ["my_norms"]))


@pytest.mark.parametrize(
    ("place", "target", "own_path"),
    [
        ("model", "my_norms.torch.hub.load", "torch.hub.load"),
        ("norm", "my_norms.load_from_hub", "torch.hub.load"),
        ("model.hidden[0]", "my_norms.torch.hub.os.system", "posix.system"),
        (
            "norm",
            "my_norms.Mine.register_module",
            "torch.nn.modules.module.Module.register_module",
        ),
        ("norm", "my_norms.SGD", "torch.optim.sgd.SGD"),
        (
            "dataset.load",
            "my_norms.LayerNorm",
            "torch.nn.modules.normalization.LayerNorm",
        ),
        ("model", "my_norms.torch.hub", "torch.hub"),
        ("model", "my_norms.torch.hub.ENV_GITHUB_TOKEN", "torch.hub.ENV_GITHUB_TOKEN"),
        ("model", "my_norms.half.keywords.clear", "None.dict.clear"),
    ],
)
def test_trust_in_a_package_ends_where_it_imports_others(
    package, place, target, own_path
):
    with pytest.raises(ValueError, match=f"got '{own_path}', named '{target}'$"):
        check_homes(configuration(place, target, ["my_norms"]))


def test_build_passes_arguments_on_and_lists_as_lists():
    made = build({"_target_": "torch.nn.Linear", "in_features": 3}, out_features=2)
    assert made.weight.shape == (2, 3)
    layer = build({"_target_": "torch.nn.Unflatten", "dim": 1}, unflattened_size=[2, 3])
    assert layer.unflattened_size == [2, 3]


def test_build_resolves_nothing():
    node = {"_target_": "torch.nn.Linear", "in_features": "${oc.env:HOME}"}
    with pytest.raises(ValueError, match="in_features must not contain"):
        build(node, out_features=2)


@pytest.mark.parametrize(
    ("place", "node", "message"),
    [
        (
            "optimizer",
            {"_target_": "torch.optim.NAdam", "lr": 0.1, "nesterov": False},
            "optimizer has 'nesterov', which torch.optim.NAdam does not take",
        ),
        (
            "optimizer",
            {"_target_": "torch.optim.SGD", "momentom": 0.9},
            "did you mean 'momentum'?; remove it with ~optimizer.momentom",
        ),
        (
            "scheduler",
            {"_target_": "torch.optim.lr_scheduler.StepLR", "step": 3},
            "which torch.optim.lr_scheduler.StepLR does not take",
        ),
        (
            "norm",
            {"_target_": "normlab.norms.GroupNorm", "group": 3},
            "norm has 'group', which normlab.norms.GroupNorm does not take",
        ),
        (
            "model",
            {"_target_": "normlab.models.MLP", "hiden": [3]},
            "did you mean 'hidden'?",
        ),
        (
            "dataset.load",
            {"_target_": "normlab.data.images.mnist", "rot": "x"},
            "did you mean 'root'?",
        ),
    ],
)
def test_arguments_that_a_class_does_not_take_are_refused(place, node, message):
    config = OmegaConf.create({"trusted_packages": []})
    OmegaConf.update(config, place, node, force_add=True)
    with pytest.raises(ValueError) as error:
        check_homes(OmegaConf.to_container(config))
    assert message in str(error.value)


def test_a_class_of_ours_is_called_without_the_checks_of_hydra():
    node = {"_target_": "normlab.norms.BatchNorm", "_partial_": True, "eps": 0.25}
    built = build_once(node)
    assert type(built) is partial
    assert type(build(node)) is not partial
    layer = built(6, 2)
    assert type(layer) is BatchNorm
    assert (layer.num_features, layer.dim, layer.eps) == (6, 2, 0.25)


def test_keys_that_are_read_before_the_call_are_no_arguments():
    optimizer = {"_target_": "torch.optim.SGD", "decay_rank_one": True}
    scheduler = {
        "_target_": "torch.optim.lr_scheduler.StepLR",
        "interval": "epoch",
        "_partial_": True,
        "step_size": 3,
    }
    check_homes(
        {"trusted_packages": [], "optimizer": optimizer, "scheduler": scheduler}
    )


def test_code_of_ones_own_that_is_not_found_is_one_line():
    config = configuration("norm", "no_such_code.Norm")
    with pytest.raises(ValueError) as error:
        check_homes(config | {"trusted_packages": ["no_such_code"]})
    assert str(error.value) == (
        "_target_ 'no_such_code.Norm' cannot be found: No module named 'no_such_code'; "
        "code of your own must be installed, or lie in the working folder or beside "
        "--config-dir"
    )
