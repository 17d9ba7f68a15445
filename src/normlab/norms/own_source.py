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
    texts = set(_texts(target))
    source = "\n".join(sorted(texts))
    digest = hashlib.sha256(source.encode())
    return digest.hexdigest()[:DIGITS]


def _texts(target: Callable[..., Any]) -> Iterator[str]:
    """The sources of a class or function and of everything that it uses."""
    target = inspect.unwrap(getattr(target, "func", target))
    module = sys.modules.get(target.__module__)
    surroundings: dict[str, Any] = {}
    if module is not None:
        surroundings = vars(module)
    waiting = [target, *_siblings(target, surroundings)]
    seen = set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        tree = _tree_of(item)
        yield ast.unparse(tree)
        names = _names_in(tree)
        for name in sorted(names & surroundings.keys()):
            value = surroundings[name]
            if _is_defined_in(value, module):
                waiting.append(value)
            elif isinstance(value, CONSTANTS):
                yield f"{name} = {value!r}"
            else:
                yield from _neighbour_text(value, module)


def _siblings(target: Any, surroundings: dict[str, Any]) -> list[Any]:
    """Classes whose names differ in the rank only."""
    name = name_of(target)
    if not RANK_IN_NAME.search(name):
        return []
    before, after = re.split("[123]", name, maxsplit=1)
    pattern = f"{re.escape(before)}[123]{re.escape(after)}"
    siblings = []
    for other in sorted(surroundings):
        if re.fullmatch(pattern, other):
            siblings.append(surroundings[other])
    return siblings


def _tree_of(item: Any) -> ast.Module:
    """The syntax tree of a class or function, without docstrings."""
    try:
        source = textwrap.dedent(inspect.getsource(item))
        tree = ast.parse(source)
    except (OSError, TypeError) as error:
        tree = _tree_in_notebook(item)
        if not tree.body:
            raise ValueError(
                f"the source of {name_of(item)} must be known, since it is part of the "
                f"identity of a run, and it is not; define it in a file or in a "
                f"notebook"
            ) from error
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        if ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _tree_in_notebook(item: Any) -> ast.Module:
    """The last definition of a class in its cell, which `inspect` does not find."""
    last: list[ast.stmt] = []
    path = source_file(item)
    if path is None:
        return ast.Module(last, [])
    cell = ast.parse(source_text(path))
    for node in ast.walk(cell):
        if isinstance(node, ast.ClassDef) and node.name == item.__name__:
            last = [node]
    return ast.Module(last, [])


def _names_in(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
    return names


def _is_defined_in(value: Any, module: ModuleType | None) -> bool:
    if module is None or not (inspect.isclass(value) or inspect.isfunction(value)):
        return False
    return value.__module__ == module.__name__


def _neighbour_text(value: Any, module: ModuleType | None) -> Iterator[str]:
    """The source of the module of a value, if it lies beside the norm's module."""
    other = inspect.getmodule(value)
    own_file = getattr(module, "__file__", None)
    file = getattr(other, "__file__", None)
    if other is module or own_file is None or file is None:
        return
    path = Path(file)
    is_beside = path.parent == Path(own_file).parent
    if is_beside and path.suffix == ".py":
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield ast.unparse(tree)
