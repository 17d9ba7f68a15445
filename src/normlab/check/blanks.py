"""Blanks of a template that nobody has filled in."""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

# What errors say that come from blanks.
OF_BLANKS = re.compile(r"ellipsis|NotImplementedError|None", re.IGNORECASE)


def blanks_in(scopes: Iterable[ast.AST]) -> list[int]:
    """Lines with `...`, with NotImplementedError, and of functions without code.

    Args:
        scopes: definitions of classes and functions.
    """
    lines: set[int] = set()
    for scope in scopes:
        lines.update(ellipses_in(scope))
        for node in ast.walk(scope):
            if _is_empty_function(node) or _is_not_implemented(node):
                lines.add(_last_line(node))
    return sorted(lines)


def ellipses_in(scope: ast.AST) -> Iterator[int]:
    """Lines with `...` outside of an index, where it is a value like any other."""
    inside: set[ast.AST] = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.Subscript):
            inside.update(ast.walk(node.slice))
    for node in ast.walk(scope):
        is_ellipsis = isinstance(node, ast.Constant) and node.value is Ellipsis
        if is_ellipsis and node not in inside:
            yield _last_line(node)


def _is_empty_function(node: ast.AST) -> bool:
    if not isinstance(node, ast.FunctionDef):
        return False
    statements = node.body
    if ast.get_docstring(node):
        statements = statements[1:]
    return all(isinstance(one, ast.Pass) for one in statements)


def _is_not_implemented(node: ast.AST) -> bool:
    if not isinstance(node, ast.Raise) or node.exc is None:
        return False
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def _last_line(node: Any) -> int:
    line: int = node.end_lineno
    return line


def is_of_blank(error: str) -> bool:
    """Whether an error may come from a blank, by its text."""
    return OF_BLANKS.search(error) is not None


def joined(names: list[str]) -> str:
    """`a, b and c`."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
