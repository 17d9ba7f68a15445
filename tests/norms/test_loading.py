"""Norms in files of the user's own."""

import pickle
import sys

import pytest
from torch import nn

from normlab.norms.loading import (
    BrokenNorm,
    is_file_reference,
    load_norm,
    norms_of,
    source_file,
    split_reference,
)

NORM = """
from torch import nn

class MyNorm(nn.Module):
    def __init__(self, num_features):
        super().__init__()
"""


@pytest.fixture
def write(tmp_path):
    """write(text, name): the path of a file with this text."""

    def write_file(text, name="my_norms.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my_norms.py:MyNorm", True),
        ("my_norms.py", True),
        ("folder/a.b.py:f", True),
        ("custom", False),
        ("my_norms:MyNorm", False),
        ("my_norms.yaml", False),
    ],
)
def test_a_reference_names_a_python_file(text, expected):
    assert is_file_reference(text) == expected


def test_a_class_is_imported_by_the_place_of_its_file(write):
    path = write(NORM)
    norm = load_norm(f"{path}:MyNorm")
    assert isinstance(norm(3), nn.Module)
    assert source_file(norm) == path
    assert load_norm(str(path)).__name__ == "MyNorm"


def test_two_files_of_one_name_do_not_meet(write, tmp_path):
    write(NORM)
    (tmp_path / "other").mkdir()
    write(NORM.replace("MyNorm", "OtherNorm"), "other/my_norms.py")
    first = load_norm(f"{tmp_path}/my_norms.py:MyNorm")
    second = load_norm(f"{tmp_path}/other/my_norms.py:OtherNorm")
    assert first.__module__ != second.__module__
    assert isinstance(pickle.loads(pickle.dumps(second(3))), second)


def test_a_changed_file_is_read_again(write):
    path = write("def norm(num_features, dim): return 1\n")
    assert load_norm(f"{path}:norm")(3, 1) == 1
    write("def norm(num_features, dim): return 22\n")
    assert load_norm(f"{path}:norm")(3, 1) == 22


def test_modules_beside_the_file_are_found_while_it_is_imported(write, tmp_path):
    write("FACTOR = 7\n", "beside_my_norms.py")
    path = write("from beside_my_norms import FACTOR\ndef norm(n, dim): return FACTOR")
    assert load_norm(f"{path}:norm")(1, 1) == 7
    assert sys.path[0] != str(tmp_path)  # it hides no module that is installed
    del sys.modules["beside_my_norms"]


def test_a_path_may_hold_a_colon(write):
    path = write(NORM, "a:b.py")
    assert split_reference(f"{path}:MyNorm") == (path, "MyNorm")
    assert split_reference(str(path)) == (path, "")


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("my_norms:MyNorm", "must be named FILE.py:CLASS, got 'my_norms:MyNorm'"),
        ("nowhere.py:MyNorm", "nowhere.py is no file"),
    ],
)
def test_what_is_no_file_is_refused(reference, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_norm(reference)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("MyNrom", "has no 'MyNrom', did you mean 'MyNorm'?"),
        ("Unlike", "has no 'Unlike'; it has MyNorm"),
        ("built", "got a layer that was built already; name its class MyNorm"),
        ("number", "must be a class or a function, got int"),
    ],
)
def test_what_is_no_norm_is_refused(write, name, sentence):
    path = write(NORM + "\nbuilt = MyNorm(3)\nnumber = 4\n")
    with pytest.raises(ValueError) as error:
        load_norm(f"{path}:{name}")
    assert sentence in str(error.value)
    assert not isinstance(error.value, BrokenNorm)


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("x = 1\nmean =\n", 2, "line 2: invalid syntax: mean ="),
        ("x = 1\n\nx = 1 / 0\n", 3, "line 3: ZeroDivisionError: division by zero"),
        ("import no_such_package\n", 1, "line 1: ModuleNotFoundError"),
        ("import sys\nsys.exit(0)\n", 2, "line 2: it ends the program (sys.exit(0))"),
        ("raise ValueError\n", 1, "line 1: ValueError"),
    ],
)
def test_a_file_that_cannot_be_imported_is_shown_with_its_line(
    write, text, line, sentence
):
    path = write(text)
    before = set(sys.modules)
    with pytest.raises(BrokenNorm) as error:
        load_norm(str(path))
    assert error.value.line == line
    assert str(error.value).startswith(f"{path} cannot be imported, ")
    assert sentence in str(error.value)
    assert set(sys.modules) == before


def test_norms_are_the_modules_of_the_file_that_are_no_bases(write):
    path = write(
        "from torch.nn import BatchNorm1d, Module\n"
        "class Base(Module): pass\n"
        "class First(Base): pass\n"
        "class Second(Base): pass\n"
        "class Helper: pass\n"
        "alias = Second\n"
    )
    module = sys.modules[load_norm(f"{path}:First").__module__]
    assert norms_of(module) == ["First", "Second"]
    with pytest.raises(ValueError, match="defines First, Second; name one of them"):
        load_norm(str(path))


def test_a_file_without_norms_says_what_to_name(write):
    path = write("def build(n, dim): return None\n")
    with pytest.raises(ValueError, match="defines no class derived from torch.nn"):
        load_norm(str(path))


@pytest.mark.parametrize("helper", ["aid.py", "aids/aid.py"])
def test_modules_beside_two_files_do_not_meet(tmp_path, helper):
    module = helper.removesuffix(".py").replace("/", ".")
    text = f"import {module}\n\ndef norm(c):\n    return {module}.VALUE\n"
    found = []
    for name, value in (("first", 1), ("second", 2), ("first", 3)):
        place = tmp_path / name / helper
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"VALUE = {value}{'0' * value}")
        (tmp_path / name / "my_norms.py").write_text(text)
        norm = load_norm(f"{tmp_path / name / 'my_norms.py'}:norm")
        found.append(norm(1))
    assert found == [10, 200, 3000]


def test_a_function_may_import_a_module_beside_the_file(tmp_path):
    (tmp_path / "beside_late.py").write_text("VALUE = 5")
    source = "def norm(c):\n    import beside_late\n    return beside_late.VALUE\n"
    (tmp_path / "my_norms.py").write_text(source)
    assert load_norm(f"{tmp_path}/my_norms.py:norm")(1) == 5
