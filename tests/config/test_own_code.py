"""Trusted code is found in the working folder and beside --config-dir, and no other."""

import importlib
import sys
from pathlib import Path

import pytest

from normlab.config import own_code
from normlab.config.own_code import VARIABLE, find_own_code


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with code of the user's own and files that take other names."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv(VARIABLE, raising=False)
    for name in ("torch", "yaml", "wandb_is_not_installed"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of a stranger')\n")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_a_package_in_the_working_folder_is_found_if_it_is_trusted(here, monkeypatch):
    (here / "work" / "own_norms_a.py").write_text("import own_helper_a\n")
    (here / "work" / "own_helper_a.py").write_text("")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("own_norms_a")
    find_own_code(["own_norms_a"])
    importlib.import_module("own_norms_a")


def test_without_trust_the_search_path_stays_as_it_is(here):
    before = list(sys.path)
    find_own_code([], [here / "conf"])
    find_own_code(["not_there"], [here / "conf"])
    assert sys.path == before


@pytest.mark.parametrize("place", ["conf", "."])
def test_packages_in_and_beside_the_folder_are_found(here, place, monkeypatch):
    (here / "conf").mkdir()
    name = "own_norms_in" if place == "conf" else "own_norms_beside"
    (here / place / name).mkdir()
    (here / place / name / "__init__.py").write_text("")
    find_own_code([f"{name}.deep"], [here / "conf"])
    importlib.import_module(name)
    assert sys.path[-1] == str((here / place).resolve())


def test_a_colon_in_the_name_of_a_folder_is_a_part_of_it(here):
    folder = here / "12:30" / "conf"
    folder.mkdir(parents=True)
    (folder.parent / "own_norms_c.py").write_text("")
    find_own_code(["own_norms_c"], [folder])
    assert sys.path[-1] == str(folder.parent)


def test_tests_of_a_checkout_and_of_the_user_may_have_one_name(here, monkeypatch):
    checkout = here / "checkout"
    for folder in (checkout / "conf", checkout / "src", checkout / "tests"):
        folder.mkdir(parents=True)
        (folder / "part.py").write_text("")
    monkeypatch.setattr(own_code, "configuration_directory", lambda: checkout / "conf")
    elsewhere = [place for place in sys.path if not (Path(place) / "tests").is_dir()]
    monkeypatch.setattr(sys, "path", [str(checkout), *elsewhere])
    for name in ("src", "tests", "own_norms_d"):
        (here / "work" / name).mkdir()
        (here / "work" / name / "__init__.py").write_text("")
    find_own_code(["own_norms_d"])
    assert sys.path[-1] == str(here / "work")


def test_installed_packages_cannot_be_replaced(here):
    (here / "own_norms_b.py").write_text("import yaml\nloaded = yaml.__file__\n")
    find_own_code(["own_norms_b"], [here / "conf"])
    sys.modules.pop("yaml", None)
    module = importlib.import_module("own_norms_b")
    assert not module.loaded.startswith(str(here))


def test_trust_in_an_installed_package_opens_no_folder(here):
    (here / "conf" / "yaml").mkdir(parents=True)
    (here / "work" / "optuna").mkdir()  # installed, and perhaps not yet imported
    before = list(sys.path)
    find_own_code(["yaml", "optuna.samplers", "pytest"], [here / "conf"])
    assert sys.path == before
    assert (here / "yaml.py").is_file()  # beside the folder, and not found either


def test_one_folder_is_found_for_a_package(here):
    for place in ("work", "conf"):
        (here / place / "own_norms_d").mkdir(parents=True)
        (here / place / "own_norms_d" / "norms.py").write_text("")
        (here / place / "schedulefree.py").write_text("")
    before = list(sys.path)
    find_own_code(["own_norms_d"], [here / "conf"])
    find_own_code(["own_norms_d"], [here / "conf"])
    assert sys.path == [*before, str(here / "work")]


def test_jobs_on_other_machines_get_the_folders_from_the_environment(here, monkeypatch):
    (here / "own_norms_c.py").write_text("")
    find_own_code(["own_norms_c"], [here / "conf"])
    sys.path.remove(str(here))
    find_own_code(["own_norms_c"])
    assert str(here) in sys.path


def packages(folder, *names):
    """Folders of Python in a folder; a name that ends with a slash has no code."""
    for name in names:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            (place / "__init__.py").write_text("")


def test_a_folder_that_is_no_package_hides_none(here, monkeypatch):
    lab = here / "own_norms_e"
    packages(here, "own_norms_e/own_norms_e", "own_norms_e/conf/")
    monkeypatch.chdir(here)
    find_own_code(["own_norms_e"], [lab / "conf"])
    assert importlib.import_module("own_norms_e").__file__ is not None
    assert sys.path[-1] == str(lab)


def test_a_folder_without_init_file_is_found_if_no_package_is(here):
    packages(here, "work/own_norms_f/deep/", "conf/own_norms_f/")
    (here / "work" / "own_norms_f" / "deep" / "norms.py").write_text("")
    find_own_code(["own_norms_f"], [here / "conf"])
    importlib.import_module("own_norms_f.deep")
    assert sys.path[-1] == str(here / "work")


def test_a_folder_on_the_search_path_is_no_installed_package(here, monkeypatch):
    installed = here / "site-packages"
    packages(installed, "own_norms_h/", "own_norms_i/lib", "own_norms_j/lib/")
    monkeypatch.syspath_prepend(installed)
    packages(here, "work/own_norms_h", "conf/own_norms_i/", "conf/own_norms_j/")
    (here / "conf" / "own_norms_i" / "more.py").write_text("")
    before = list(sys.path)
    find_own_code(["own_norms_i.lib", "own_norms_j"], [here / "conf"])
    assert sys.path == before  # neither code of a stranger nor more of the namespace
    find_own_code(["own_norms_h.deep"], [here / "conf"])
    assert sys.path == [*before, str(here / "work")]
    assert importlib.import_module("own_norms_h").__file__ is not None


@pytest.mark.parametrize("code", ["norms", "deep/norms", "norms/"])
@pytest.mark.parametrize("trusted", ["own_norms_k", "own_norms_k.x", "stranger_k"])
def test_an_installed_namespace_cannot_be_replaced(here, monkeypatch, code, trusted):
    installed = here / "site-packages"
    packages(installed, f"own_norms_k/{code}")
    (installed / "own_norms_k" / code / "whiten.py").write_text("")
    monkeypatch.syspath_prepend(installed)
    packages(here, "conf/own_norms_k", "conf/stranger_k")
    before = list(sys.path)
    with pytest.raises(ValueError) as error:
        find_own_code([trusted], [here / "conf"])
    assert str(error.value) == (
        f"own_norms_k in {here / 'conf'} must have another name, since it would "
        f"replace the code in {installed / 'own_norms_k'}: rename it, or install your "
        f"package"
    )
    assert sys.path == before


@pytest.mark.parametrize("is_on_path", [False, True])
@pytest.mark.parametrize("trusted", ["own_norms_l", "own_norms_l.norms"])
def test_code_in_the_working_folder_comes_first(here, monkeypatch, trusted, is_on_path):
    packages(here, "work/own_norms_l/norms/", "conf/own_norms_l")
    (here / "work" / "own_norms_l" / "norms" / "whiten.py").write_text("")
    if is_on_path:
        monkeypatch.syspath_prepend(here / "work")
    find_own_code([trusted], [here / "conf"])
    assert str(here / "work") in sys.path
    assert str(here / "conf") not in sys.path


def test_data_and_compiled_remains_are_no_code(here):
    packages(here, "work/own_norms_m/__pycache__/", "conf/own_norms_m")
    (here / "work" / "own_norms_m" / "data.csv").write_text("")
    (here / "work" / "own_norms_m" / "__pycache__" / "x.pyc").write_text("")
    find_own_code(["own_norms_m"], [here / "conf"])
    assert sys.path[-1] == str(here / "conf")


def test_a_folder_in_an_installed_namespace_cannot_be_replaced(here, monkeypatch):
    installed = here / "site-packages"
    packages(installed, "own_norms_n/deep/norms", "own_norms_n/data/", "own_norms_n/b")
    monkeypatch.syspath_prepend(installed)
    packages(here, "conf/stranger_n", "conf/own_norms_n/data", "conf/own_norms_n/b")
    find_own_code(["stranger_n"], [here / "conf"])  # replaces nothing
    sys.path.remove(str(here / "conf"))
    packages(here, "conf/own_norms_n/deep")
    with pytest.raises(ValueError) as error:
        find_own_code(["stranger_n"], [here / "conf"])
    folder = here / "conf" / "own_norms_n"
    assert str(error.value).startswith(f"deep in {folder} must have another name")


def test_the_working_folder_comes_first_in_any_order_of_trust(here):
    packages(here, "work/own_norms_o", "conf/own_norms_o", "conf/stranger_o")
    find_own_code(["stranger_o", "own_norms_o"], [here / "conf"])
    assert sys.path[-2:] == [str(here / "work"), str(here / "conf")]
