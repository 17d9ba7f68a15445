"""Trusted code is found in the working folder and beside --config-dir, and no other."""

import importlib
import sys

import pytest

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
    find_own_code(["own_norms_f"], [here / "conf"])
    importlib.import_module("own_norms_f.deep")
    assert sys.path[-1] == str(here / "work")


def test_a_folder_on_the_search_path_is_no_installed_package(here, monkeypatch):
    installed = here / "site-packages"
    packages(installed, "own_norms_h/", "own_norms_i/lib", "own_norms_j/lib/")
    monkeypatch.syspath_prepend(installed)
    packages(here, "work/own_norms_h", "work/own_norms_i", "conf/own_norms_j/")
    before = list(sys.path)
    find_own_code(["own_norms_i.lib", "own_norms_j"], [here / "conf"])
    assert sys.path == before  # neither code of a stranger nor more of the namespace
    find_own_code(["own_norms_h.deep"], [here / "conf"])
    assert sys.path == [*before, str(here / "work")]
    assert importlib.import_module("own_norms_h").__file__ is not None
