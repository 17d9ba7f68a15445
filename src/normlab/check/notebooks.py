"""Norms in the code cells of a notebook.

A notebook is data: of its cells only definitions are taken, with the imports and values
that they use. What a cell computes, prints or trains does not run.
"""

import ast
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normlab.check.blanks import joined
from normlab.norms.loading import BrokenNorm, load_norm

Cells = Sequence[tuple[int, int]]

SUFFIX = ".ipynb"
MAGIC = re.compile(r"^(\s*)[%!?].*$")
# Cells of these hold Python; those of others, such as %%bash, do not.
PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")


@dataclass(frozen=True)
class CodeOfNotebook:
    """The code of a notebook as one file.

    Attributes:
        text: all code cells below each other. Lines that are not taken are empty, so
            that every line is where it was.
        cells: number of the cell and of its line, both from 1, for every line.
    """

    text: str
    cells: list[tuple[int, int]]


@dataclass
class _Lines:
    texts: list[str] = field(default_factory=list)
    cells: list[tuple[int, int]] = field(default_factory=list)
    statements: list[ast.stmt] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def code_of_notebook(path: Path, wanted: str = "") -> CodeOfNotebook:
    """Take the definitions from the code cells of a notebook.

    If a name is defined several times, the last definition counts, as after running
    the cells from top to bottom.

    Args:
        path: of the notebook, in format 4.
        wanted: a class or function; it is taken with all that it uses. Empty takes all
            classes.

    Raises:
        ValueError: the file is no notebook, or has no such definition.
        BrokenNorm: the same, and a cell is no Python.
    """
    lines = _Lines()
    for number, source in _code_cells(path):
        _add_cell(lines, number, source)
    statements = lines.statements
    functions = [one.name for one in statements if isinstance(one, ast.FunctionDef)]
    classes = [one.name for one in statements if isinstance(one, ast.ClassDef)]
    roots = [wanted] if wanted else classes
    if not roots or not set(roots) <= {*functions, *classes}:
        missing = f"no {wanted!r}" if wanted else "no class in its code cells"
        if lines.errors:
            raise BrokenNorm(f"{path.name} has {missing}; {'; '.join(lines.errors)}")
        found = f"; it has {', '.join(classes)}" if classes and wanted else ""
        raise ValueError(f"{path.name} has {missing}{found}")
    kept = _with_all_they_use(roots, statements)
    texts = [""] * len(lines.texts)
    for statement in kept:
        first = statement.lineno
        for decorator in getattr(statement, "decorator_list", []):
            first = min(first, decorator.lineno)
        for place in range(first - 1, statement.end_lineno or first):
            texts[place] = lines.texts[place]
    return CodeOfNotebook("\n".join(texts) + "\n", lines.cells)


def _code_cells(path: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1 among all cells, and source of every code cell."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = content["cells"]
        for number, cell in enumerate(cells, start=1):
            if cell["cell_type"] == "code":
                source = cell["source"]
                yield number, source if isinstance(source, str) else "".join(source)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path.name} must be a notebook in format 4, with a list of cells"
        ) from error


def _add_cell(lines: _Lines, number: int, source: str) -> None:
    texts = source.splitlines()
    if texts and texts[0].startswith("%%"):
        if not texts[0].startswith(PYTHON_MAGICS):
            return
        texts[0] = ""
    start = len(lines.texts)
    try:
        tree = _parsed(texts)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        text = texts[line - 1].strip() if line <= len(texts) else ""
        reason = getattr(error, "msg", None) or str(error)
        lines.errors.append(f"cell {number}, line {line}: {reason}: {text}")
    else:
        ast.increment_lineno(tree, start)
        lines.statements += tree.body
    lines.texts += texts
    lines.cells += [(number, line) for line in range(1, len(texts) + 1)]


def _parsed(texts: list[str]) -> ast.Module:
    """Parse lines, and replace magics among them by `pass`.

    Within an expression or a text, a line may begin with `%`, `!` or `?`. So only a
    line at which Python fails is a magic.

    Raises:
        SyntaxError, ValueError: the rest is no Python.
    """
    while True:
        try:
            return ast.parse("\n".join(texts))
        except SyntaxError as error:
            place = (error.lineno or 0) - 1
            if not 0 <= place < len(texts) or not MAGIC.match(texts[place]):
                raise
            texts[place] = MAGIC.sub(r"\1pass", texts[place])


def _with_all_they_use(roots: list[str], statements: list[ast.stmt]) -> list[ast.stmt]:
    """The statements that give names their values, in their order."""
    by_name: dict[str, list[ast.stmt]] = {}
    for statement in statements:
        for name in _names_given(statement):
            if isinstance(statement, ast.ClassDef | ast.FunctionDef):
                by_name[name] = []  # definitions before count no more
            by_name.setdefault(name, []).append(statement)
    waiting = [*roots, "*"]
    seen: set[str] = set()
    kept: set[ast.stmt] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for statement in by_name.get(name, []):
            kept.add(statement)
            waiting += _names_used(statement)
    return [one for one in statements if one in kept]


def _names_given(statement: ast.stmt) -> list[str]:
    """The names that a statement defines, imports or assigns to."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        names = [alias.asname or alias.name for alias in statement.names]
        return [name.partition(".")[0] for name in names]
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    names = []
    for target in targets:
        names += _names_used(target)
    return names


def _names_used(node: ast.AST) -> list[str]:
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]


def split_notebook(reference: str) -> tuple[Path, str] | None:
    """Path and name of `FILE.ipynb:NAME` or `FILE.ipynb`; None for another file.

    Raises:
        ValueError: there is no such file.
    """
    if reference.endswith(SUFFIX):
        text, name = reference, ""
    else:
        text, _, name = reference.rpartition(":")
        if not text.endswith(SUFFIX):
            return None
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f"{text} is no file; name a notebook that exists")
    return path, name


@contextmanager
def loaded(reference: str) -> Iterator[tuple[Callable[..., Any], Cells]]:
    """Import the norm of a Python file or of a notebook, whose code runs.

    Inside of the `with` block the code of a notebook lies in a file.

    Args:
        reference: `FILE.py:NAME` or `FILE.ipynb:NAME`; the name may be left out if the
            file has one norm only.

    Yields:
        The class or function, and `CodeOfNotebook.cells`, empty for a Python file.

    Raises:
        ValueError: there is no such norm.
        BrokenNorm: the code cannot be imported.
    """
    split = split_notebook(reference)
    if split is None:
        yield load_norm(reference), []
        return
    path, name = split
    code = code_of_notebook(path, name)
    place = str(path.resolve().parent)
    with tempfile.TemporaryDirectory(prefix="normlab-notebook-") as folder:
        file = Path(folder, f"{path.stem}.py")
        file.write_text(code.text, encoding="utf-8")
        sys.path.append(place)  # of modules beside the notebook
        try:
            yield _load(file, path, name, code.cells), code.cells
        finally:
            sys.path.remove(place)


def _load(file: Path, path: Path, name: str, cells: Cells) -> Callable[..., Any]:
    """Import the code of a notebook; messages name the notebook and its cells."""
    try:
        return load_norm(f"{file}:{name}" if name else str(file))
    except BrokenNorm as error:
        message = str(error).replace(str(file), path.name)
        if error.line:
            where = place_of(error.line, cells)
            message = message.replace(f"line {error.line}:", f"{where}:", 1)
        raise BrokenNorm(message) from error
    except ValueError as error:
        raise ValueError(str(error).replace(str(file), path.name)) from error


def place_of(line: int, cells: Cells) -> str:
    """`cell 3, line 5` for a line of the code of a notebook, else `line 5`."""
    return places_of([line], cells)


def places_of(lines: Sequence[int], cells: Cells) -> str:
    """The same for several lines: `lines 5 and 6`, or `cell 3, lines 5 and 6`."""
    if not cells:
        return _lines(lines)
    by_cell: dict[int, list[int]] = {}
    for line in lines:
        cell, within = cells[line - 1]
        by_cell.setdefault(cell, []).append(within)
    found = [f"cell {cell}, {_lines(within)}" for cell, within in by_cell.items()]
    return joined(found)


def _lines(lines: Sequence[int]) -> str:
    word = "line" if len(lines) == 1 else "lines"
    return f"{word} {joined(list(map(str, lines)))}"
