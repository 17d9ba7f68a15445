"""Find code of the user's own, whose packages the command line trusts by name.

Python finds what is installed. A norm that lies in the working folder or beside a
folder of configurations is found because of this module, and nothing else that lies
there is: a folder joins the search path only if it holds a package that the user named,
and after everything that is installed, so that no file in it can take the place of an
installed package.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from glob import iglob
from importlib.machinery import PathFinder, all_suffixes
from importlib.util import find_spec
from pathlib import Path

from normlab.config.identity import configuration_directory

# Tells jobs on other machines what `--config-dir` named, as a list in JSON.
VARIABLE = "NORMLAB_CONFIG_DIRS"
SUFFIXES = tuple(all_suffixes())  # of files that Python imports


def find_own_code(packages: Sequence[str], config_dirs: Iterable[Path] = ()) -> None:
    """Append the folders that hold packages of the user's own to the search path.

    Where a package is installed, no folder is appended for it. Otherwise the first one
    counts of the working folder, folders of configurations, and the folders beside
    which they lie. A folder of the package's name without `__init__.py` counts if there
    is code in it. Worker processes inherit the search path, jobs of a cluster the
    environment variable.

    Args:
        packages: dotted names, from `trusted_packages` or `--trust` as typed.
        config_dirs: what `--config-dir` named.

    Raises:
        ValueError: a folder would replace code that is installed.
    """
    named = []
    for folder in config_dirs:
        named.append(str(folder.absolute()))
    if named:
        os.environ[VARIABLE] = json.dumps(named)
    candidates = _candidates()
    holders = []
    for package in packages:
        root = package.partition(".")[0]
        if not _is_installed(root):
            holder = _folder_with(root, candidates)
            holders.append(holder)
    for folder in candidates:
        if folder in holders:
            _append_to_search_path(folder)


def _candidates() -> list[Path]:
    """The folders that may hold code of the user's own."""
    candidates = [Path.cwd()]
    for name in json.loads(os.environ.get(VARIABLE) or "[]"):
        folder = Path(name)
        candidates += [folder, folder.parent]
    return candidates


def _is_installed(root: str) -> bool:
    """Whether Python finds a module, or a package with `__init__.py`, already."""
    if root in sys.modules:
        return True
    spec = find_spec(root)
    return spec is not None and spec.origin is not None


def _namespace(root: str) -> list[Path]:
    """The folders of a name on the search path, none of which has `__init__.py`.

    Python imports any module or package with this name in their place, wherever it
    lies on the search path. Folders beside conf/ are left out: nothing imports the
    tests and scripts of a checkout by their names.
    """
    spec = PathFinder.find_spec(root)
    if spec is None or spec.origin is not None:
        return []
    places = map(Path, spec.submodule_search_locations or ())
    checkout = configuration_directory().parent
    return [place for place in places if place.resolve().parent != checkout]


def _folder_with(root: str, candidates: Sequence[Path]) -> Path | None:
    """The first folder with code of a name; None if it is a part of a namespace."""
    for folder in candidates:
        if _has_module(folder, root):
            return folder
        plain = folder / root
        if not _holds_code(plain):
            continue
        for inner in candidates:  # the folder of a project may have the name, too
            if inner.is_relative_to(plain) and _has_module(inner, root):
                return inner
        is_found = any(map(_holds_code, _namespace(root)))
        return None if is_found else folder
    return None


def _append_to_search_path(folder: Path) -> None:
    if str(folder) in sys.path:
        return
    for name in _names(folder):
        _refuse_replacing(_namespace(name), folder, name)
    sys.path.append(str(folder))


def _names(folder: Path) -> list[str]:
    """What may be imported from a folder, which need not exist."""
    names = set()
    for path in folder.glob("*"):
        name, *_ = path.name.split(".")
        if name.isidentifier():
            names.add(name)
    return sorted(names)


def _refuse_replacing(places: Sequence[Path], folder: Path, name: str) -> None:
    """Refuse a folder with a package that replaces code in folders of its name."""
    replaced = []
    for place in places:
        if place.is_dir() and not folder.is_relative_to(place):
            replaced.append(place)
    if not replaced:
        return
    if not _has_module(folder, name):
        for inner in _names(folder / name):
            if not any(_has_module(place, inner) for place in replaced):
                deeper = [place / inner for place in replaced]
                _refuse_replacing(deeper, folder / name, inner)
        return
    for place in replaced:
        if _holds_code(place):
            raise ValueError(
                f"{name} in {folder} must have another name, since it would replace "
                f"the code in {place}: rename it, or install your package"
            )


def _has_module(folder: Path, name: str) -> bool:
    """Whether a folder holds a module, or a package with its file `__init__.py`."""
    for suffix in SUFFIXES:
        module = folder / f"{name}{suffix}"
        package = folder / name / f"__init__{suffix}"
        if module.is_file() or package.is_file():
            return True
    return False


def _holds_code(folder: Path) -> bool:
    """Whether there is a file in or below a folder that Python imports."""
    for name in iglob("**", root_dir=folder, recursive=True):
        if name.endswith(SUFFIXES) and "__pycache__" not in name:
            return True
    return False
