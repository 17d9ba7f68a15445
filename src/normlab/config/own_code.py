"""Find code of the user's own, whose packages the command line trusts by name.

Python finds what is installed. A norm that lies in the working folder or beside a
folder of configurations is found because of this module, and nothing else that lies
there is: a folder joins the search path only if it holds a package that the user named,
and after everything that is installed, so that no file in it can take the place of an
installed package.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from glob import iglob
from importlib.machinery import PathFinder, all_suffixes
from importlib.util import find_spec
from pathlib import Path

# Tells jobs on other machines what `--config-dir` named.
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
        os.environ[VARIABLE] = os.pathsep.join(named)
    candidates = _candidates()
    for package in packages:
        root = package.partition(".")[0]
        if _is_installed(root):
            continue
        holder = _folder_with(root, candidates)
        if holder is not None:
            _append_to_search_path(holder)


def _candidates() -> list[Path]:
    """The folders that may hold code of the user's own."""
    candidates = [Path.cwd()]
    named = os.environ.get(VARIABLE, "")
    for name in named.split(os.pathsep):
        if name:
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
    """The folders without `__init__.py` on the search path that hold code of a name.

    Python imports any module or package with this name in their place, wherever it
    lies on the search path.
    """
    spec = PathFinder.find_spec(root)
    if spec is None or spec.origin is not None:
        return []
    places = map(Path, spec.submodule_search_locations or ())
    return [place for place in places if _holds_code(place)]


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
        return None if _namespace(root) else folder
    return None


def _append_to_search_path(folder: Path) -> None:
    if str(folder) in sys.path:
        return
    names = {path.name.partition(".")[0] for path in folder.iterdir()}
    for name in sorted(filter(str.isidentifier, names)):
        if not _has_module(folder, name):
            continue
        for place in _namespace(name):
            if not folder.is_relative_to(place):
                raise ValueError(
                    f"{name} in {folder} must have another name, since it would "
                    f"replace the code in {place}: rename it, or install your package"
                )
    sys.path.append(str(folder))


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
