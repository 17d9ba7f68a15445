"""Norms in files of the user's own, named as `my_norms.py:MyBatchNorm1d`."""

import hashlib
import importlib.util
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from normlab.config.trust import OwnNormError
from normlab.messages import with_class
from normlab.spelling import did_you_mean

# What the code of a norm may raise: anything, and the end of the program.
CODE_ERRORS = (Exception, SystemExit)


_neighbours: set[str] = set()  # modules that files of norms have imported


class BrokenNorm(OwnNormError):
    """The code of a norm fails: its file cannot be imported, or it cannot be built.

    Attributes:
        line: of the norm's file, where it fails; None if unknown.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def is_file_reference(text: str) -> bool:
    """Whether a text names something in a Python file: `FILE.py` or `FILE.py:NAME`."""
    path, _, _ = text.rpartition(":")
    return text.endswith(".py") or path.endswith(".py")


def load_norm(reference: str) -> Callable[..., Any]:
    """Import the file of a norm, and return the class or function that was named.

    The code of the file runs, so the reference must come from somebody who is trusted
    with that, such as the user who types it.

    Args:
        reference: `FILE.py:NAME`, or `FILE.py` if the file defines one norm only.

    Raises:
        ValueError: there is no such file, or it has no norm of that name.
        BrokenNorm: the file cannot be imported.
    """
    path, name = split_reference(reference)
    module = import_file(path)
    if not name:
        return _only_norm(module, path)
    if not hasattr(module, name):
        found = norms_of(module)
        hint = did_you_mean(name, found)
        listed = f"; it has {', '.join(found)}" if found else "; it has no norm at all"
        raise ValueError(f"{path} has no {name!r}{hint or listed}")
    found_norm = getattr(module, name)
    if isinstance(found_norm, nn.Module):
        kind = type(found_norm).__name__
        raise ValueError(
            f"{path}:{name} must be a class or a function, got a layer that was built "
            f"already; name its class {kind}"
        )
    if not callable(found_norm):
        kind = type(found_norm).__name__
        raise ValueError(f"{path}:{name} must be a class or a function, got {kind}")
    result: Callable[..., Any] = found_norm
    return result


def split_reference(reference: str) -> tuple[Path, str]:
    """Split `FILE.py:NAME` into the path of the file and the name, which may be empty.

    Raises:
        ValueError: the text does not name a Python file, or there is no such file.
    """
    if not is_file_reference(reference):
        raise ValueError(
            f"a norm of your own must be named FILE.py:CLASS, got {reference!r}"
        )
    text, separator, name = reference.rpartition(":")
    if not separator or reference.endswith(".py"):
        text, name = reference, ""
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f"{text} is no file; name a Python file that exists")
    return path, name


def import_file(path: Path) -> ModuleType:
    """Import a Python file by its place, under a name that no other module has.

    While it is imported, the modules beside the file can be imported too. The same file
    is imported anew in every call, and so are the modules that files before it brought
    along: their changes are seen, and files from two folders do not share a module.

    Args:
        path: the file.

    Raises:
        BrokenNorm: it cannot be imported; the message has the line.
    """
    place = path.resolve()
    digest = hashlib.sha256(str(place).encode()).hexdigest()[:12]
    name = f"normlab_file_{digest}_{place.stem}"
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # by which pickle and `inspect` find the class
    sys.path.insert(0, str(place.parent))
    importlib.invalidate_caches()
    for neighbour in _neighbours:
        sys.modules.pop(neighbour, None)
    before = set(sys.modules)
    try:
        spec.loader.exec_module(module)
    except CODE_ERRORS as error:
        del sys.modules[name]
        raise _broken_file(path, error) from error
    finally:
        sys.path.remove(str(place.parent))
        if str(place.parent) not in sys.path:  # last, for imports inside of functions
            sys.path.append(str(place.parent))
        _neighbours.update(_modules_in(place.parent, set(sys.modules) - before))
    return module


def _modules_in(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """The names of those modules whose files lie below a folder."""
    for name in names:
        module = sys.modules[name]
        file = getattr(module, "__file__", None)
        folders = [str(one) for one in getattr(module, "__path__", [])]
        for place in [file] if file else folders:
            path = Path(place).resolve()
            is_installed = "site-packages" in path.parts
            if path.is_relative_to(folder) and not is_installed:
                yield name


def _broken_file(path: Path, error: BaseException) -> BrokenNorm:
    """The error for a file that cannot be imported."""
    if isinstance(error, SyntaxError) and error.filename == str(path.resolve()):
        line = error.lineno
        text = (error.text or "").strip()
        reason = f"{error.msg}: {text}" if text else error.msg
    else:
        line = line_in_file(error, path)
        reason = describe(error)
    place = f", line {line}" if line else ""
    return BrokenNorm(f"{path} cannot be imported{place}: {reason}", line)


def describe(error: BaseException) -> str:
    """An exception in one line: its class, and the first line of its message."""
    if isinstance(error, SystemExit):
        return f"it ends the program (sys.exit({error.code!r}))"
    return with_class(error)


def line_in_file(error: BaseException, path: Path | None) -> int | None:
    """The last line of a file that an exception passed; None if it passed none."""
    if path is None:
        return None
    place = str(path.resolve())
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == place]
    return lines[-1] if lines else None


def norms_of(module: ModuleType) -> list[str]:
    """Names of the modules (`torch.nn.Module`) that a file defines itself.

    If other classes of the file are derived from a class, it is left out as their base.
    """
    modules = [one for one in _classes_of(module) if issubclass(one, nn.Module)]
    bases = {base for one in modules for base in one.__mro__[1:]}
    return [one.__name__ for one in modules if one not in bases]


def _classes_of(module: ModuleType) -> list[type]:
    """The classes that a file defines itself, in its order."""
    classes: dict[type, None] = {}
    for value in vars(module).values():
        if inspect.isclass(value) and value.__module__ == module.__name__:
            classes[value] = None
    return list(classes)


def _only_norm(module: ModuleType, path: Path) -> Callable[..., Any]:
    found = norms_of(module)
    classes = _classes_of(module)
    if not found and len(classes) == 1:
        return classes[0]  # whoever builds it says what it lacks
    if not found:
        raise ValueError(
            f"{path} defines no class derived from torch.nn.Module; name the function "
            f"or class that builds the norm as {path}:NAME"
        )
    if len(found) > 1:
        raise ValueError(
            f"{path} defines {', '.join(found)}; name one of them as {path}:NAME"
        )
    result: Callable[..., Any] = getattr(module, found[0])
    return result


def source_file(target: Callable[..., Any]) -> Path | None:
    """The file in which a class or function is defined; None if there is none.

    For what a notebook defines, this is the name under which IPython keeps the text of
    the cell; there is no such file, see `source_text`.
    """
    target = inspect.unwrap(target)
    try:
        found = inspect.getsourcefile(target)
    except TypeError:
        return None
    except OSError:  # the module of a notebook has no file, the code of methods has
        found = _file_of_methods(target)
    return None if found is None else Path(found)


def _file_of_methods(target: Callable[..., Any]) -> str | None:
    methods = filter(inspect.isfunction, vars(target).values())
    files = [method.__code__.co_filename for method in methods]
    return next((file for file in files if linecache.getlines(file)), None)


def source_text(path: Path) -> str:
    """The text of a file, or of the cell of a notebook that has this name."""
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    return "".join(linecache.getlines(str(path)))
