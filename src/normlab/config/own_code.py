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
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

# Tells jobs on other machines what `--config-dir` named.
VARIABLE = "NORMLAB_CONFIG_DIRS"


def find_own_code(packages: Sequence[str], config_dirs: Iterable[Path] = ()) -> None:
    """Append the folders that hold packages of the user's own to the search path.

    Where a package is installed, no folder is appended for it. Otherwise the first one
    counts of the working folder, folders of configurations, and the folders beside
    which they lie. A folder of the package's name without `__init__.py` may hold data:
    it counts only if there is no package. Worker processes inherit the search path,
    jobs of a cluster the environment variable.

    Args:
        packages: dotted names, from `trusted_packages` or `--trust` as typed.
        config_dirs: what `--config-dir` named.
    """
    named = []
    for folder in config_dirs:
        named.append(str(folder.absolute()))
    if named:
        os.environ[VARIABLE] = os.pathsep.join(named)
    candidates = _candidates()
    for package in packages:
        if _is_installed(package):
            continue
        root = package.partition(".")[0]
        holder = _folder_with(root, candidates)
        if holder is not None:
            _append_to_search_path(str(holder))


def _candidates() -> list[Path]:
    """The folders that may hold code of the user's own."""
    candidates = [Path.cwd()]
    named = os.environ.get(VARIABLE, "")
    for name in named.split(os.pathsep):
        if name:
            folder = Path(name)
            candidates += [folder, folder.parent]
    return candidates


def _is_installed(package: str) -> bool:
    """Whether Python finds code for a package already; nothing is imported.

    A folder without `__init__.py` is a namespace and has no code of its own. What lies
    in it counts, such as `google.protobuf`, and not that some folder has the name.
    """
    root, *names = package.split(".")
    if root in sys.modules:
        return True
    spec = find_spec(root)
    found = root
    for name in names:
        if spec is None or spec.origin is not None:
            break
        found = f"{found}.{name}"
        spec = PathFinder.find_spec(found, spec.submodule_search_locations)
    return spec is not None and spec.origin is not None


def _append_to_search_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)


def _folder_with(root: str, candidates: Sequence[Path]) -> Path | None:
    """The first folder with a module or package; else one with a folder of its name.

    The latter adds nothing to a namespace that Python finds already.
    """
    for folder in candidates:
        if _holds_package(folder, root):
            return folder
    if find_spec(root) is None:
        for folder in candidates:
            if (folder / root).is_dir():
                return folder
    return None


def _holds_package(folder: Path, root: str) -> bool:
    """Whether a folder holds a module, or a package with its file `__init__.py`."""
    package = folder / root / "__init__.py"
    module = folder / f"{root}.py"
    return package.is_file() or module.is_file()
