"""The digest of a norm's source changes if what the norm computes can change."""

import importlib
import linecache
import sys
from functools import partial
from types import ModuleType

import pytest
from torch import nn

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

class {name}({base}):
    def forward(self, x):
        return {factor} * x
"""


@pytest.fixture
def run_cell(monkeypatch):
    """Run cells as IPython does: in a module without file, whose text is kept."""
    notebook = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)

    def run(name, factor, base="nn.Module"):
        text = CELL.format(name=name, factor=factor, base=base)
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
    assert source_text(source_file(again)) == CELL.format(
        name="Scale", factor=3, base="nn.Module"
    )


def test_a_class_without_a_method_has_no_source_in_a_notebook(run_cell):
    run_cell("Scale", 2)
    empty = type("Empty", (), {"__module__": "__main__"})
    with pytest.raises(ValueError, match="the source of Empty must be known"):
        source_digest(empty)


MODULE = """
import random
import torch
from torch import nn
{globals}

class Norm(nn.Module):
    def forward(self, x):
        {imports}
        return {output}
"""


@pytest.fixture
def digest_with(tmp_path):
    """digest_with(globals, output, others): of a norm, others are files beside it."""
    numbers = iter(range(100))

    def of(lines="", output="x", *, others=None, imports="pass"):
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        for name, text in (others or {}).items():
            place = folder / name
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
            sys.modules.pop(name.removesuffix(".py").split("/")[0], None)
        text = MODULE.format(globals=lines, output=output, imports=imports)
        (folder / "my_norms.py").write_text(text)
        return source_digest(load_norm(f"{folder}/my_norms.py:Norm"))

    return of


@pytest.mark.parametrize(
    ("lines", "changed", "output"),
    [
        ("V = {'eps': 1}", "V = {'eps': 2}", "x + V['eps']"),
        ("V = [1, [2]]", "V = [1, [3]]", "x + V[0]"),
        ("V = torch.tensor(2.0)", "V = torch.tensor(3.0)", "x * V"),
        ("V = torch.relu", "V = torch.tanh", "V(x)"),
        ("def f(x): return x\nV = [f]", "def f(x): return 2 * x\nV = [f]", "V[0](x)"),
    ],
)
def test_values_of_the_module_count(digest_with, lines, changed, output):
    assert digest_with(lines, output) == digest_with(lines, output)
    assert digest_with(lines, output) != digest_with(changed, output)


def test_a_local_name_stands_for_no_value_of_the_module(digest_with):
    assert digest_with("x = 1", "x") == digest_with("x = 2", "x")


def test_modules_that_modules_beside_the_file_import_count(digest_with):
    others = {"first_aid.py": "import second_aid", "second_aid.py": "A = 1"}
    use = {"lines": "import first_aid", "output": "x * first_aid.second_aid.A"}
    changed = others | {"second_aid.py": "A = 2"}
    assert digest_with(**use, others=others) == digest_with(**use, others=others)
    assert digest_with(**use, others=others) != digest_with(**use, others=changed)


def test_a_module_in_a_folder_below_counts(digest_with):
    use = {"lines": "from parts_below import ops", "output": "ops.f(x)"}
    first = {"parts_below/ops.py": "def f(x): return x"}
    other = {"parts_below/ops.py": "def f(x): return 2 * x"}
    assert digest_with(**use, others=first) != digest_with(**use, others=other)


def test_a_module_that_a_method_imports_counts(digest_with):
    use = {"imports": "import late_aid", "output": "x * late_aid.A"}
    first = digest_with(**use, others={"late_aid.py": "A = 1"})
    assert digest_with(**use, others={"late_aid.py": "A = 2"}) != first


def test_values_of_the_functions_around_a_class_count():
    def scaled_by(factor):
        class Scaled(nn.Module):
            def forward(self, x):
                return factor * x

        return Scaled

    assert source_digest(scaled_by(2)) == source_digest(scaled_by(2))
    assert source_digest(scaled_by(2)) != source_digest(scaled_by(3))


def test_arguments_of_a_partial_count():
    digests = {source_digest(partial(nn.BatchNorm1d, eps=eps)) for eps in (1, 2, 2)}
    assert len({*digests, source_digest(nn.BatchNorm1d)}) == 3


def test_a_class_whose_file_was_changed_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "changed_norms.py"
    path.write_text(MODULE.format(globals="", output="x", imports="pass"))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("changed_norms")
    digest = source_digest(module.Norm)
    path.write_text("# above\n" + path.read_text())
    linecache.checkcache()
    assert source_digest(module.Norm) == digest
    path.write_text(MODULE.format(globals="", output="2 * x", imports="pass"))
    with pytest.raises(ValueError, match="changed_norms.py must be as it was"):
        source_digest(module.Norm)
    path.write_text("def")
    with pytest.raises(ValueError, match="changed_norms.py must be as it was"):
        source_digest(module.Norm)
    sys.modules.pop("changed_norms")


def test_the_old_base_of_a_class_of_a_notebook_counts(run_cell):
    run_cell("Scale", 2)
    derived = run_cell("Derived", 1, base="Scale")
    of_first_base = source_digest(derived)
    run_cell("Scale", 3)
    of_both_bases = source_digest(derived)
    of_second_base = source_digest(run_cell("Derived", 1, base="Scale"))
    assert len({of_first_base, of_both_bases, of_second_base}) == 3
