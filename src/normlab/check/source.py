"""Read the source of a layer to find the line that a fault most likely comes from."""

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from normlab.check.blanks import blanks_in, ellipses_in
from normlab.check.notebooks import Cells, places_of
from normlab.norms.loading import BrokenNorm, line_in_file, source_file, source_text

IN_PLACE = ("mul_", "add_", "copy_", "lerp_", "sub_", "div_", "fill_", "addcmul_")
AVERAGING = ("mean", "var", "std", "var_mean", "std_mean", "sum", "norm", "rms")
MEANS = ("mean", "mu", "batch_mean", "xmean", "avg", "m")
ROOTS = ("sqrt", "rsqrt", "std", "pow")
CUTS = ("detach", "item", "numpy", "tolist", "detach_", "no_grad")


class Source:
    """The source of a class or function, and of the functions beside it.

    Lines are those of the file. Every search gives None if there is no such line, or no
    source.

    Args:
        target: the class or function.
        cells: where the lines were in a notebook, see `normlab.check.notebooks`.
    """

    def __init__(self, target: Callable[..., Any], cells: Cells = ()) -> None:
        self.path = source_file(target)
        self.cells = cells
        self.lines: list[str] = []
        self.scopes: list[ast.AST] = []
        self.bases: list[Any] = []  # of the scopes, the classes it is derived from
        if self.path is not None and self.path.suffix == ".py":
            self._read(self.path, target)

    def _read(self, path: Path, target: Callable[..., Any]) -> None:
        text = source_text(path)
        self.lines = text.splitlines()
        try:
            tree = ast.parse(text)
        except SyntaxError:
            return
        names = [target.__name__] if hasattr(target, "__name__") else []
        if inspect.isclass(target):
            names = [one.__name__ for one in target.__mro__]
        definitions = [
            node
            for node in tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
        ]
        own = [node for node in definitions if node.name in names]
        own.sort(key=lambda node: names.index(node.name))
        self.scopes = [*own]
        self.bases = own[1:]
        # Helpers such as `batch_norm(x, ...)` hold lines of their own.
        for scope in self.scopes:
            used = {_called(node) for node in ast.walk(scope)}
            for node in definitions:
                if node.name in used and node not in self.scopes:
                    self.scopes.append(node)

    @classmethod
    def empty(cls) -> "Source":
        """That of nothing."""
        return cls(len)

    def text(self, line: int | None) -> str:
        """A line without indentation."""
        if line is None or not 0 < line <= len(self.lines):
            return ""
        return self.lines[line - 1].strip()

    def place(self, *lines: int) -> str:
        """`line 3` or `lines 3 and 5`; of a notebook with the number of the cell."""
        return places_of(lines, self.cells)

    def mentions(self, name: str) -> int | None:
        """The first line with a name or attribute."""
        return _first(node.lineno for node in self._nodes() if _called(node) == name)

    def passed_by(self, error: BaseException | None) -> int | None:
        """The last line of the file that an exception passed; None if it is unknown."""
        if isinstance(error, BrokenNorm):
            return error.line
        return None if error is None else line_in_file(error, self.path)

    def definition(self, name: str) -> int | None:
        """The line in which a method or function is defined."""
        for node in self._nodes():
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return node.lineno
        return None

    def definition_of_class(self, name: str) -> int | None:
        """The line in which a class is defined."""
        for scope in self.scopes:
            if isinstance(scope, ast.ClassDef) and scope.name == name:
                return scope.lineno
        return None

    def start(self, name: str) -> int | None:
        """The line of the constructor that sets an attribute, or the layer with it."""
        for bare in (bare_name(name), name.partition(".")[0]):
            for function in self._functions("__init__"):
                for node in ast.walk(function):
                    if bare in _stored(node) or bare in _registered(node):
                        return getattr(node, "lineno", None)
        return None

    def returned(self) -> int | None:
        """The line with which forward ends, or else its definition."""
        for function in self._functions("forward"):
            ends = [one for one in ast.walk(function) if isinstance(one, ast.Return)]
            return max((one.lineno for one in ends), default=function.lineno)
        return None

    def blanks(self) -> list[int]:
        """Lines of a template in which code is still missing."""
        return blanks_in(self.scopes)

    def ellipses(self) -> list[int]:
        """Lines with `...` where a value belongs."""
        return sorted({line for scope in self.scopes for line in ellipses_in(scope)})

    def update(self, name: str) -> int | None:
        """The line outside of the constructor that changes an attribute.

        Names of local variables count as well (`moving_var` in a helper), and calls of
        methods that work in place.
        """
        bare = bare_name(name)
        wanted = (bare, bare.removeprefix("running_"), f"moving_{bare}")
        for words in ((bare,), wanted):
            found = _first(
                node.lineno
                for node in self._nodes(without_constructor=True)
                if isinstance(node, ast.stmt) and _changes(node, words)
            )
            if found is not None:
                return found
        return None

    def statistics(self) -> int | None:
        """The first line outside of the constructor that averages something."""
        return self._call_of(AVERAGING)

    def variance(self) -> int | None:
        """The first line that computes a variance or a deviation."""
        found = self._call_of(("var", "std", "var_mean", "std_mean"))
        if found is not None:
            return found
        names = ("var", "variance", "batch_var", "sigma2", "std", "v", "bnvar")
        return _first(
            node.lineno
            for node in self._nodes(without_constructor=True)
            if isinstance(node, ast.Assign)
            and _stored_names(node) & set(names)
            and any(isinstance(part, ast.BinOp) for part in ast.walk(node.value))
        )

    def summation(self) -> int | None:
        """The first line outside of the constructor that adds values up."""
        return self._call_of(("sum",))

    def centering(self) -> int | None:
        """The line that subtracts a mean."""
        return _first(
            node.lineno
            for node in self._nodes(without_constructor=True)
            if isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Sub)
            and any(_called(part) in MEANS for part in ast.walk(node.right))
        )

    def root(self) -> int | None:
        """The line that divides by a root, or else the line of the root or of eps."""
        for test in (_is_root_division, _is_root, _has_eps):
            found = _first(
                node.lineno
                for node in self._nodes(without_constructor=True)
                if test(node)
            )
            if found is not None:
                return found
        return None

    def division(self) -> int | None:
        """The line that normalizes: a division, or else the root."""
        found = _first(
            node.lineno
            for node in self._nodes(without_constructor=True)
            if isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Div)
            and isinstance(node.left, ast.BinOp | ast.Name)
            and not _is_count(node)
        )
        return found if found is not None else self.root()

    def cut(self, last: bool = False) -> int | None:
        """The line that takes something out of the graph.

        Lines that set attributes do so rightly.

        Args:
            last: the last one in place of the first.
        """
        lines = []
        for statement in self._nodes(without_constructor=True):
            is_simple = isinstance(statement, ast.Assign | ast.Return | ast.AugAssign)
            is_with = isinstance(statement, ast.With)
            if not (is_simple or is_with) or _stored(statement):
                continue
            parts = statement.items if is_with else [statement]
            for part in parts:
                names = {_called(node) for node in ast.walk(part)}
                if names & {*CUTS, "data"}:
                    lines.append(statement.lineno)
        if not lines:
            return None
        return lines[-1] if last else lines[0]

    def affine(self, name: str) -> int | None:
        """The line outside of the constructor that uses a parameter."""
        bare = bare_name(name)
        return _first(
            node.lineno
            for node in self._nodes(without_constructor=True)
            if isinstance(node, ast.Attribute | ast.Name)
            and _called(node) == bare
            and isinstance(node.ctx, ast.Load)
        )

    def in_place_on_input(self) -> int | None:
        """The line that changes the first argument of forward in place."""
        for name in ("forward", "__call__"):
            for function in self._functions(name):
                arguments = [one.arg for one in function.args.args if one.arg != "self"]
                if not arguments:
                    continue
                for node in ast.walk(function):
                    if isinstance(node, ast.stmt) and _works_on(node, arguments[0]):
                        return node.lineno
        return None

    def _call_of(self, names: Iterable[str]) -> int | None:
        return _first(
            node.lineno
            for node in self._nodes(without_constructor=True)
            if isinstance(node, ast.Call) and _called(node.func) in names
        )

    def _functions(self, name: str) -> Iterator[ast.FunctionDef]:
        for node in self._nodes():
            if isinstance(node, ast.FunctionDef) and node.name == name:
                yield node

    def _nodes(self, without_constructor: bool = False) -> Iterator[Any]:
        """Nodes of the class and its helpers by their lines, then of its bases."""
        first = [scope for scope in self.scopes if scope not in self.bases]
        for scopes in (first, *[[base] for base in self.bases]):
            walked = [node for scope in scopes for node in ast.walk(scope)]
            nodes = [node for node in walked if hasattr(node, "lineno")]
            if without_constructor:
                inside: set[ast.AST] = set()
                for function in nodes:
                    if isinstance(function, ast.FunctionDef) and _builds(function):
                        inside.update(ast.walk(function))
                nodes = [node for node in nodes if node not in inside]
            yield from sorted(nodes, key=lambda node: node.lineno)


def bare_name(path: str) -> str:
    """`running_mean` for `inner.running_mean[0]`."""
    return path.partition("[")[0].rpartition(".")[2]


def _builds(function: ast.FunctionDef) -> bool:
    return function.name in ("__init__", "reset_parameters", "reset_running_stats")


def _first(lines: Iterable[int]) -> int | None:
    return next(iter(lines), None)


def _called(node: ast.AST) -> str:
    """The last name of an expression such as `torch.mean` or `self.weight`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _stored(node: ast.AST) -> set[str]:
    """Names of the attributes of self that a statement sets."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    return {
        part.attr
        for target in targets
        for part in ast.walk(target)
        if isinstance(part, ast.Attribute)
    }


def _stored_names(node: ast.Assign) -> set[str]:
    return {
        part.id
        for target in node.targets
        for part in ast.walk(target)
        if isinstance(part, ast.Name)
    }


def _registered(node: ast.AST) -> set[str]:
    """The name in `self.register_buffer("name", ...)`."""
    if not isinstance(node, ast.Call) or not _called(node.func).startswith("register_"):
        return set()
    first = node.args[0] if node.args else None
    return {str(first.value)} if isinstance(first, ast.Constant) else set()


def _changes(node: ast.stmt, words: Iterable[str]) -> bool:
    """Whether a statement sets one of these names, or changes it in place."""
    if _stored(node) & set(words):
        return True
    if isinstance(node, ast.Assign) and _stored_names(node) & set(words):
        return True
    if isinstance(node, ast.AugAssign) and _called(node.target) in words:
        return True
    if not isinstance(node, ast.Expr):
        return False
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            names = {_called(part) for part in ast.walk(call.func.value)}
            if call.func.attr in (*IN_PLACE, "mul", "add", "lerp") and names & set(
                words
            ):
                return True
    return False


def _works_on(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.AugAssign):
        parts = {_called(part) for part in ast.walk(node.target)}
        return name in parts
    if not isinstance(node, ast.Expr | ast.Assign | ast.Return):
        return False
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            method = call.func.attr
            if method.endswith("_") and _called(call.func.value) == name:
                return True
    return False


def _is_root(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return _called(node.func) in ROOTS
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)


def _is_root_division(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and _called(node.func) == "rsqrt":
        return True
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
        return False
    return any(
        isinstance(part, ast.Call) and _called(part.func) in ("sqrt", "std")
        for part in ast.walk(node.right)
    )


def _has_eps(node: ast.AST) -> bool:
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add):
        return False
    return "eps" in _called(node.right).lower() or "eps" in _called(node.left).lower()


def _is_count(node: ast.BinOp) -> bool:
    """Whether this is `n / (n - 1)` rather than a division of tensors."""
    right = node.right
    return isinstance(right, ast.BinOp) and isinstance(right.op, ast.Sub)
