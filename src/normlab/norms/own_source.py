"""A digest of the source of a norm: of its class and of what the class uses.

It is part of the identity of a run, so that a changed norm is another run. Comments,
docstrings and layout are left out.
"""

import ast
import hashlib
import inspect
import re
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from normlab.norms.construction import RANK_IN_NAME, name_of
from normlab.norms.loading import source_file, source_text
from normlab.norms.values import parts_of, value_text

DIGITS = 16


def source_digest(target: Callable[..., Any]) -> str:
    """Digest of a class or function and of what it uses from its own files.

    These are functions, classes and values of its module, values of the functions
    around it, and whole modules that lie beside its file or in folders below, with the
    modules that those import. A class for one rank brings its siblings, as `MyNorm1d`
    brings `MyNorm2d`.

    Args:
        target: a class or function that is written in Python, or a
            `functools.partial` of one.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: the source cannot be found, or its file was changed after it was
            imported.
    """
    texts = set(_texts(target))
    source = "\n".join(sorted(texts))
    digest = hashlib.sha256(source.encode())
    return digest.hexdigest()[:DIGITS]


def _texts(target: Callable[..., Any]) -> Iterator[str]:
    """The sources of a class or function and of everything that it uses."""
    while isinstance(target, partial):
        yield f"partial {value_text([target.args, target.keywords])}"
        target = target.func
    target = inspect.unwrap(target)
    module = sys.modules.get(target.__module__)
    surroundings = {} if module is None else vars(module)
    folder = _folder_of(module)
    files: set[Path] = set()
    waiting = [target, *_siblings(target, surroundings)]
    seen = set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        tree = _tree_of(item)
        text = ast.unparse(tree)
        yield text
        files.update(_imported_files(tree, folder))
        used = [*_bases(item)]
        known = {**surroundings, **_enclosed(item)}
        names = _names_outside(text) & known.keys()
        for name in sorted(names):
            value = known[name]
            parts = parts_of(value)
            used += parts
            for part in parts:
                files.update(_file_beside(part, module))
            if not _is_defined_in(value, module):
                written = value_text(value)
                shown = written.replace(_prefix(module), "")
                yield f"{name} = {shown}"
        waiting += [one for one in used if _is_defined_in(one, module)]
    yield from _module_texts(files, folder)


def _prefix(module: ModuleType | None) -> str:
    """What stands before names of the module, which depends on how it was imported."""
    name = getattr(module, "__name__", "__main__")
    return f"{name}."


def _siblings(target: Any, surroundings: Mapping[str, Any]) -> list[Any]:
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


def _bases(item: Any) -> tuple[type, ...]:
    """The classes from which a class is derived.

    In a notebook they may be older than the classes that have their names by now.
    """
    if not inspect.isclass(item):
        return ()
    return item.__bases__


def _enclosed(item: Any) -> dict[str, Any]:
    """Values of the functions around a class or function, which its code uses."""
    values = {}
    for function in _functions_of(item):
        names = function.__code__.co_freevars
        cells = function.__closure__ or ()
        for name, cell in zip(names, cells, strict=True):
            if name == "__class__":  # what `super()` needs
                continue
            try:
                values[name] = cell.cell_contents
            except ValueError:  # it has no value yet
                continue
    return values


def _functions_of(item: Any) -> list[FunctionType]:
    """A function, or the methods that a class defines itself."""
    if inspect.isfunction(item):
        return [item]
    if not inspect.isclass(item):
        return []
    functions = []
    for value in vars(item).values():
        of_property = getattr(value, "fget", None)
        inner = of_property or getattr(value, "__func__", value)
        if callable(inner):
            inner = inspect.unwrap(inner)
        if inspect.isfunction(inner) and inner.__module__ == item.__module__:
            functions.append(inner)
    return functions


def _tree_of(item: Any) -> ast.Module:
    """The syntax tree of a class or function, without docstrings."""
    _check_unchanged(item)
    try:
        source = textwrap.dedent(inspect.getsource(item))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError) as error:
        tree = _tree_in_notebook(item)
        if not tree.body:
            raise ValueError(
                f"the source of {name_of(item)} must be known, since it is part of the "
                f"identity of a run, and it is not; define it in a file, or in a "
                f"notebook with a method of its own"
            ) from error
    _remove_docstrings(tree)
    return tree


def _remove_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        if ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]


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


def _check_unchanged(item: Any) -> None:
    """Refuse a class whose file has other code than the one that was imported.

    Raises:
        ValueError: it was changed since.
    """
    module = sys.modules.get(getattr(item, "__module__", ""))
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return
    # Others, such as that of pytest, change the code that they import.
    if type(getattr(spec, "loader", None)) is not SourceFileLoader:
        return
    path = Path(spec.origin)
    defined = _codes_in_file(path)
    for function in _functions_of(item):
        code = function.__code__
        if code.co_filename != str(path):
            continue
        if _fingerprint(code) not in defined:
            raise ValueError(
                f"{path.name} must be as it was when {name_of(item)} was imported, it "
                f"was changed since; import it anew with importlib.reload, or restart "
                f"Python"
            )


def _codes_in_file(path: Path) -> set[str]:
    try:
        text = path.read_text(encoding="utf-8")
        code = compile(text, str(path), "exec", dont_inherit=True)
    except (OSError, SyntaxError):
        return set()
    return _codes_in(code)


def _codes_in(code: CodeType) -> set[str]:
    """Fingerprints of all functions that a piece of code defines."""
    found = {_fingerprint(code)}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _codes_in(constant)
    return found


def _fingerprint(code: CodeType) -> str:
    """What a function does, wherever in its file it stands."""
    constants = []
    for index, constant in enumerate(code.co_consts):
        if isinstance(constant, CodeType):
            constants.append(_fingerprint(constant))
        elif index > 0 or not isinstance(constant, str):  # else a docstring
            constants.append(value_text(constant))
    instructions = code.co_code.hex()
    parts = [code.co_qualname, instructions, *code.co_names, *constants]
    return "\n".join(parts)


def _names_outside(text: str) -> set[str]:
    """Names that a piece of source uses and does not define in its functions."""
    table = symtable.symtable(text, "norm", "exec")
    return set(_free_names(table))


def _free_names(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_global() and symbol.is_referenced():
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _free_names(inner)


def _is_defined_in(value: Any, module: ModuleType | None) -> bool:
    if module is None:
        return False
    has_source = inspect.isclass(value) or inspect.isfunction(value)
    return has_source and value.__module__ == module.__name__


def _folder_of(module: ModuleType | None) -> Path:
    """The folder of a module; that of the process for a notebook."""
    file = getattr(module, "__file__", None)
    if file is None:
        return Path.cwd()
    path = Path(file).resolve()
    return path.parent


def _file_beside(value: Any, module: ModuleType | None) -> Iterator[Path]:
    """The file in which a value is defined, if its module is one of the user's own."""
    other = inspect.getmodule(value)
    file = getattr(other, "__file__", None)
    if other is None or other is module or file is None:
        return
    path = Path(file).resolve()
    folder = _folder_of(module)
    parts = other.__name__.split(".")
    is_below = path in _places(folder, parts)
    if path.suffix == ".py" and (is_below or path.parent == folder):
        yield path


def _imported_files(tree: ast.AST, folder: Path) -> Iterator[Path]:
    """Files of modules that a piece of source imports and that lie below a folder."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            names = [start]
            for alias in node.names:
                names.append(f"{start}.{alias.name}")
        for name in filter(None, names):
            parts = name.strip(".").split(".")
            places = _places(folder, parts)
            yield from filter(Path.is_file, places)


def _places(folder: Path, parts: list[str]) -> list[Path]:
    """Where the module of a dotted name may lie."""
    path = folder.joinpath(*parts)
    return [path.with_suffix(".py"), path / "__init__.py"]


def _module_texts(files: set[Path], folder: Path) -> Iterator[str]:
    """The sources of modules and of those that they import from the user's files."""
    waiting = list(files)
    seen = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        waiting += _imported_files(tree, folder)
        waiting += _imported_files(tree, path.parent)
        _remove_docstrings(tree)
        yield ast.unparse(tree)
