"""Norms in notebooks: which code is taken, and where its lines are."""

import json
from pathlib import Path

import pytest

import normlab
from normlab.check.grades import property_text
from normlab.check.notebooks import code_of_notebook, loaded, places_of
from normlab.check.submissions import Task, Worker, find_submissions, grade_submission
from normlab.norms.loading import BrokenNorm

RIGHT = Path(__file__).parent / "right" / "textbook.py"
WRONG = Path(__file__).parent / "wrong"


@pytest.fixture
def notebook(tmp_path):
    """notebook(*sources): the path of a notebook with a text and these code cells."""

    def write(*sources, name="alice.ipynb"):
        cells = [{"cell_type": "markdown", "source": ["# Title\n", "class Not:\n"]}]
        for source in sources:
            lines = source.splitlines(keepends=True)
            cells.append({"cell_type": "code", "source": lines, "outputs": []})
        path = tmp_path / name
        path.write_text(json.dumps({"nbformat": 4, "cells": cells}))
        return path

    return write


def taken(path, wanted=""):
    return [one for one in code_of_notebook(path, wanted).text.splitlines() if one]


def test_only_definitions_and_what_they_use_are_taken(notebook):
    path = notebook(
        "%matplotlib inline\nimport os, torch\nimport nowhere\nfrom math import *\n",
        "!pip install nothing\nEPS = 1e-5\nOTHER = nowhere.compute()\n",
        "def helper(x):\n    return x + EPS\n\ndef unused():\n    return OTHER\n",
        "class Norm(torch.nn.Module):\n    def forward(self, x):\n"
        "        return helper(x)\nNorm()(torch.ones(1, 1))\n",
        "%%bash\nrm -r everything\n",
        "%%time\nwhile True:\n    pass\n",
        "class Network(torch.nn.Module):\n    layers = nowhere.layers\n",
    )
    assert taken(path, "Norm") == [
        "import os, torch",
        "from math import *",
        "EPS = 1e-5",
        *("def helper(x):", "    return x + EPS"),
        *("class Norm(torch.nn.Module):", "    def forward(self, x):"),
        "        return helper(x)",
    ]
    assert "class Network(torch.nn.Module):" in taken(path)


def test_lines_in_expressions_and_texts_are_no_magics(notebook):
    path = notebook(
        "%load_ext autoreload\n%autoreload 2\n!echo it's\n"
        "def norm(x):\n"
        '    text = """\n%d of\n"""\n'
        "    if x:\n"
        "        %timeit x\n"
        "    return (text\n"
        "            % x.ndim)\n"
    )
    assert taken(path, "norm") == [
        "def norm(x):",
        *('    text = """', "%d of", '"""'),
        *("    if x:", "        pass"),
        *("    return (text", "            % x.ndim)"),
    ]


def test_the_last_definition_of_a_name_counts(notebook):
    first = "class Norm:\n    number = 1\n"
    path = notebook(first, "x = Norm()\n", first.replace("1", "2"))
    assert taken(path) == ["class Norm:", "    number = 2"]


def test_a_decorated_definition_is_taken_whole(notebook):
    path = notebook("def mark(one):\n    return one\n", "@mark\nclass Norm:\n    a = 1")
    assert taken(path)[-3:] == ["@mark", "class Norm:", "    a = 1"]


@pytest.mark.parametrize(
    ("cells", "wanted", "kind", "sentence"),
    [
        (["x = 1"], "", ValueError, "alice.ipynb has no class in its code cells"),
        (["class A: pass"], "B", ValueError, "alice.ipynb has no 'B'; it has A"),
        (
            ["x = 1", "class B:\n    mean =\n"],
            "B",
            BrokenNorm,
            r"no 'B'; cell 3, line 2: invalid syntax: mean =",
        ),
    ],
)
def test_what_is_missing_is_said(notebook, cells, wanted, kind, sentence):
    with pytest.raises(kind, match=sentence):
        code_of_notebook(notebook(*cells), wanted)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cells": [1]}', "\x00", "[" * 9999])
def test_what_is_no_notebook_is_refused(tmp_path, text):
    path = tmp_path / "alice.ipynb"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"alice.ipynb must be a notebook in format 4"):
        code_of_notebook(path)


def test_an_import_that_fails_is_told_with_its_cell(notebook):
    path = notebook(
        "x = 1\n", "from torch import nn\n\nclass A(nn.Nothing):\n    b = 1"
    )
    with (
        pytest.raises(BrokenNorm, match="alice.ipynb cannot .* cell 3, line 3: Attrib"),
        loaded(f"{path}:A"),
    ):
        pass


def test_lines_are_those_of_cells():
    cells = [(2, 1), (2, 2), (4, 1), (4, 2)]
    assert places_of([2], cells) == "cell 2, line 2"
    assert places_of([1, 2], cells) == "cell 2, lines 1 and 2"
    assert places_of([2, 3, 4], cells) == "cell 2, line 2 and cell 4, lines 1 and 2"
    assert places_of([3, 4], []) == "lines 3 and 4"


def test_a_notebook_is_examined_like_a_file(notebook):
    source = (WRONG / "averages.py").read_text()
    path = notebook("print('trains for hours')\n", source)
    examined = normlab.examine(f"{path}:BiasedVariance", like="batch")
    (fault,) = examined.examination.faults
    assert fault.fault == "biased_variance"
    assert fault.text.startswith("self.running_var.mul_(1 - self.momentum)")
    line = source.splitlines().index(f"{' ' * 16}{fault.text}") + 1
    assert fault.place == f"cell 3, line {line}"
    assert f"cell 3, line {line}: self.running_var" in repr(examined)


def test_a_notebook_with_blanks_names_their_cell(notebook):
    path = notebook("x = 1\n", (WRONG / "blanks.py").read_text())
    examined = normlab.examine(f"{path}:NothingFilled", like="batch")
    assert examined.faults == ["Blanks are left in cell 3, lines 21, 22, 23 and 24."]


def test_a_submission_may_be_a_notebook(notebook, tmp_path):
    (tmp_path / "helpers.py").write_text("EPS = 1e-5\n")
    text = RIGHT.read_text().replace("eps=1e-5", "eps=helpers.EPS")
    path = notebook("import helpers\n", text, "raise SystemExit\n")
    worker = Worker()
    try:
        grade = grade_submission("alice", path, Task(norm="BatchNorm"), worker)
    finally:
        worker.close()
    assert (grade.status, grade.note) == ("examined", "")
    assert property_text(grade.examination, "call") == ""
    assert grade.examination.points == grade.examination.possible == 46


def test_folders_may_hold_notebooks(tmp_path):
    names = ("a.py", "a.ipynb", "b/x.ipynb", "c/x.py", "c/x.ipynb", "d/x.ipynb")
    hidden = ("b/.ipynb_checkpoints/x-checkpoint.ipynb", ".e.ipynb")
    for name in (*names, *hidden, "d/y.ipynb"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert find_submissions(tmp_path) == {
        "a": tmp_path / "a.ipynb",
        "a.py": tmp_path / "a.py",
        "b": tmp_path / "b/x.ipynb",
        "c": tmp_path / "c/x.py",
        "d": None,
    }
    assert find_submissions(tmp_path, "y.ipynb")["d"] == tmp_path / "d/y.ipynb"
