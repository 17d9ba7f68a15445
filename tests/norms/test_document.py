"""docs/reference/norms/index.md has every file of conf/norm, and says what the classes say."""

import inspect
import re
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "reference" / "norms" / "index.md"
FILES = {path.stem: path for path in sorted((ROOT / "conf" / "norm").glob("*.yaml"))}


def tables():
    """Rows of every table of the document, without its head, as lists of cells."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", DOCUMENT.read_text(), re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in block.splitlines()
        ]
        found.append(
            {
                row[0].strip("`"): dict(zip(rows[0], row, strict=True))
                for row in rows[2:]
            }
        )
    return found


def target(name):
    """What the file of a norm builds: the layer, or what it does to the weights."""
    config = OmegaConf.load(FILES[name])
    return get_object((config.get("reparametrize") or config)["_target_"])


def test_every_file_has_a_row_in_both_tables():
    what, when = tables()
    assert what.keys() == when.keys() == FILES.keys()
    assert all(all(row.values()) for row in [*what.values(), *when.values()])


@pytest.mark.parametrize("name", FILES)
def test_dependence_on_the_batch_is_the_classes(name):
    stated = tables()[0][name]["batch"]
    expected = getattr(target(name), "batch_dependent", name == "torch")
    assert stated == ("yes" if expected else "no")


@pytest.mark.parametrize("name", FILES)
def test_the_paper_is_the_docstrings(name):
    paper = tables()[0][name]["paper"]
    documented = inspect.getdoc(target(name)) or ""
    if name == "torch":  # a factory of PyTorch's layer
        documented = inspect.getdoc(get_object("normlab.norms.BatchNorm"))
    if paper != "-":
        assert f"arXiv {paper}" in documented
    else:
        assert "arXiv" not in documented


@pytest.mark.parametrize("name", FILES)
def test_contained_activations_are_told(name):
    told = "contains its activation" in tables()[1][name]["pitfalls"]
    assert told == getattr(target(name), "includes_activation", False)
