"""A digest of the source of a norm: of its class and of what the class uses.

It is part of the identity of a run, so that a changed norm is another run. Comments,
docstrings and layout are left out.
"""

import ast
import hashlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from normlab.norms.construction import RANK_IN_NAME, name_of
from normlab.norms.loading import source_file, source_text

DIGITS = 16
CONSTANTS = (bool, int, float, complex, str, bytes, type(None), tuple, frozenset)


def source_digest(target: Callable[..., Any]) -> str:
    """Digest of a class or function and of what it uses from its own files.

    These are functions, classes and constants of its module, and whole modules that lie
    beside its file. A class for one rank brings its siblings, as `MyNorm1d` brings
    `MyNorm2d`.

    Args:
        target: a class or function that is written in Python.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: the source cannot be found.
    """
    texts = sorted(set(_texts(target)))
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:DIGITS]


def _texts(target: Callable[..., Any]) -> Iterator[str]:
    """The sources of a class or function and of everything that it uses."""
    target = inspect.unwrap(getattr(target, "func", target))
    module = sys.modules.get(target.__module__)
    surroundings = vars(module) if module is not None else {}
    waiting = [target, *_siblings(target, surroundings)]
    seen = set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        tree = _tree_of(item)
        yield ast.unparse(tree)
        for name in sorted(_names_in(tree)):
            value = surroundings.get(name)
            if _is_defined_in(value, module):
                waiting.append(value)
            elif isinstance(value, CONSTANTS) and name in surroundings:
                yield f"{name} = {value!r}"
            else:
                yield from _neighbour_text(value, module)


def _siblings(target: Any, surroundings: dict[str, Any]) -> list[Any]:
    """Classes whose names differ in the rank only."""
    name = name_of(target)
    if not RANK_IN_NAME.search(name):
        return []
    pattern = "[123]".join(map(re.escape, re.split("[123]", name, maxsplit=1)))
    names = [one for one in surroundings if re.fullmatch(pattern, one)]
    return [surroundings[one] for one in sorted(names)]


def _tree_of(item: Any) -> ast.Module:
    """The syntax tree of a class or function, without docstrings."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(item)))
    except (OSError, TypeError) as error:
        tree = _tree_in_notebook(item)
        if not tree.body:
            raise ValueError(
                f"the source of {name_of(item)} must be known, since it is part of the "
                f"identity of a run, and it is not; define it in a file or in a "
                f"notebook"
            ) from error
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _tree_in_notebook(item: Any) -> ast.Module:
    """The last definition of a class in its cell, which `inspect` does not find."""
    path = source_file(item)
    cell = ast.parse("" if path is None else source_text(path))
    found = [
        node
        for node in ast.walk(cell)
        if isinstance(node, ast.ClassDef) and node.name == item.__name__
    ]
    return ast.Module(found[-1:], [])


def _names_in(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _is_defined_in(value: Any, module: ModuleType | None) -> bool:
    if module is None or not (inspect.isclass(value) or inspect.isfunction(value)):
        return False
    return value.__module__ == module.__name__


def _neighbour_text(value: Any, module: ModuleType | None) -> Iterator[str]:
    """The source of the module of a value, if it lies beside the norm's module."""
    found = inspect.getmodule(value)
    place = getattr(module, "__file__", None)
    path = getattr(found, "__file__", None)
    if found is module or place is None or path is None:
        return
    if Path(path).parent == Path(place).parent and path.endswith(".py"):
        yield ast.unparse(ast.parse(Path(path).read_text(encoding="utf-8")))
