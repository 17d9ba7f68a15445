"""The digest of a norm's source changes if what the norm computes can change."""

import linecache
import sys
from types import ModuleType

import pytest

from normlab.norms.loading import load_norm, source_file, source_text
from normlab.norms.own_source import source_digest

SOURCE = '''
import helpers
from torch import nn

EPS = 1e-5
UNUSED = 1


def center(x):
    return x - x.mean(0) + helpers.shift()


class Other(nn.Module):
    pass


class Norm1d(nn.Module):
    """Centers."""

    def forward(self, x):
        # with a helper
        return center(x) / (x.var(0) + EPS)


class Norm2d(Norm1d):
    def forward(self, x):
        return super().forward(x) * 1
'''


@pytest.fixture
def digest(tmp_path):
    """digest(old, new): of Norm1d, in a file where a text was replaced by another."""
    numbers = iter(range(100))

    def of(old="", new="", helper="def shift():\n    return 0\n"):
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        (folder / "helpers.py").write_text(helper)
        assert old in SOURCE
        path = folder / "my_norms.py"
        path.write_text(SOURCE.replace(old, new) if old else SOURCE)
        sys.modules.pop("helpers", None)
        return source_digest(load_norm(f"{path}:Norm1d"))

    return of


def test_the_same_source_has_the_same_digest(digest):
    assert len(digest()) == 16
    assert digest() == digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Centers."""', '"""Does something."""'),
        ("# with a helper", "# with help"),
        ("class Other(nn.Module):\n    pass", "class Other(nn.Module):\n    a = 1"),
        ("UNUSED = 1", "UNUSED = 2"),
        ("EPS = 1e-5\n", "EPS = 0.00001\n\n\n"),
    ],
)
def test_what_computes_nothing_does_not_count(digest, old, new):
    assert digest(old, new) == digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("EPS = 1e-5", "EPS = 1e-3"),
        ("x - x.mean(0)", "x - x.median(0).values"),
        ("x.var(0)", "x.std(0)"),
        ("super().forward(x) * 1", "super().forward(x) * 2"),
    ],
)
def test_constants_helpers_and_siblings_count(digest, old, new):
    assert digest(old, new) != digest()


def test_a_module_beside_the_file_counts(digest):
    assert digest(helper="def shift():\n    return 1\n") != digest()


def test_a_class_without_source_is_refused():
    namespace = {}
    exec("class Norm:\n    pass", namespace)
    with pytest.raises(ValueError, match="the source of Norm must be known"):
        source_digest(namespace["Norm"])


CELL = """
from torch import nn

class {name}(nn.Module):
    def forward(self, x):
        return {factor} * x
"""


@pytest.fixture
def run_cell(monkeypatch):
    """Run cells as IPython does: in a module without file, whose text is kept."""
    notebook = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)

    def run(name, factor):
        text = CELL.format(name=name, factor=factor)
        place = f"/nowhere/ipykernel_7/{factor}.py"
        lines = text.splitlines(keepends=True)
        monkeypatch.setitem(linecache.cache, place, (len(text), None, lines, place))
        exec(compile(text, place, "exec"), vars(notebook))
        return vars(notebook)[name]

    return run


def test_the_source_of_a_class_of_a_notebook_is_that_of_its_cell(run_cell):
    digest = source_digest(run_cell("Scale", 2))
    assert source_digest(run_cell("Scale", 3)) != digest
    assert source_digest(run_cell("Scale", 2)) == digest
    again = run_cell("Scale", 3)
    assert source_text(source_file(again)) == CELL.format(name="Scale", factor=3)


def test_a_class_without_a_method_has_no_source_in_a_notebook(run_cell):
    run_cell("Scale", 2)
    empty = type("Empty", (), {"__module__": "__main__"})
    with pytest.raises(ValueError, match="the source of Empty must be known"):
        source_digest(empty)
