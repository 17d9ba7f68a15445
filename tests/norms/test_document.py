"""docs/reference/norms/index.md has every norm, and says what the classes say."""

import inspect

import pytest
from docs.norm_tables import read_tables
from docs.paths import CONF
from hydra.utils import get_object
from omegaconf import OmegaConf

FILES = {path.stem: path for path in sorted((CONF / "norm").glob("*.yaml"))}
WHAT, WHEN = read_tables()


def target(name):
    """What the file of a norm builds: the layer, or what it does to the weights."""
    config = OmegaConf.load(FILES[name])
    return get_object((config.get("reparametrize") or config)["_target_"])


def test_every_file_has_a_row_in_both_tables():
    assert WHAT.keys() == WHEN.keys() == FILES.keys()
    assert all(all(row.values()) for row in [*WHAT.values(), *WHEN.values()])


@pytest.mark.parametrize("name", FILES)
def test_dependence_on_the_batch_is_the_classes(name):
    stated = WHAT[name]["batch"]
    of_layers = name in ("torch", "weight_centralization")
    expected = getattr(target(name), "batch_dependent", of_layers)
    assert stated == ("yes" if expected else "no")


@pytest.mark.parametrize("name", FILES)
def test_the_paper_is_the_docstrings(name):
    paper = WHAT[name]["paper"]
    documented = inspect.getdoc(target(name)) or ""
    if name == "torch":  # a factory of PyTorch's layer
        documented = inspect.getdoc(get_object("normlab.norms.BatchNorm"))
    if paper != "-":
        assert f"arXiv {paper}" in documented
    else:
        assert "arXiv" not in documented


@pytest.mark.parametrize("name", FILES)
def test_contained_activations_are_mentioned(name):
    mentioned = "contains its activation" in WHEN[name]["pitfalls"]
    assert mentioned == getattr(target(name), "includes_activation", False)
