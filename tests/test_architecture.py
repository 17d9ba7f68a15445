"""Which part of the package may import which: this table is the architecture.

Parts are the folders of `src/normlab` and the modules beside them. A part imports the
parts that its line names and no others. A line may only name parts above it, so nothing
imports upward. No modules import each other in a circle, not even inside a function or
for type hints.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"

# From the foundations to the entry points.
ARCHITECTURE = {
    # foundations, which know nothing of runs
    "colours": (),
    "cores": (),
    "descriptors": (),
    "endings": (),
    "files": (),
    "checksums": ("files",),
    "messages": (),
    "metrics": (),
    "npz": (),
    "option_names": (),
    "parquet": ("files",),
    "programs": (),
    "synonyms": (),
    "spelling": ("synonyms",),
    "sharing": (),
    "spreadsheets": (),
    "streams": ("sharing",),
    "leases": ("endings", "files"),
    "locks": ("leases",),
    "results": ("checksums", "descriptors", "files", "locks", "sharing"),
    "figure_files": ("results",),
    "terminal": ("metrics",),
    "signals": ("endings",),
    "config": ("files", "messages", "metrics", "sharing", "spelling"),
    "mistakes": ("config", "spelling", "synonyms"),
    "help": ("config", "spelling"),
    # what people add
    "norms": ("messages", "config", "spelling"),
    "own_norms": ("norms",),
    "command_lines": ("option_names", "terminal", "config", "mistakes", "norms"),
    "models": ("messages", "norms", "spelling"),
    "optimizers": ("norms", "spelling"),
    "data": (
        *("messages", "config", "files", "locks", "parquet", "sharing", "spelling"),
        *("streams", "terminal"),
    ),
    "callbacks": (),
    "event_files": ("endings", "locks"),
    "loggers": (
        *("messages", "config", "endings", "event_files", "locks", "metrics"),
        *("results", "terminal"),
    ),
    # one run
    "check": (
        *("descriptors", "messages", "norms", "option_names", "results"),
        *("spreadsheets", "terminal"),
    ),
    "device": ("cores", "norms"),
    "training": (
        *("messages", "endings", "metrics", "streams", "results", "terminal"),
        *("signals", "config", "norms", "models", "data", "loggers", "device", "files"),
        *("locks", "leases", "checksums", "check", "npz", "sharing", "spreadsheets"),
    ),
    "stacked": (
        *("messages", "endings", "sharing", "streams", "terminal", "signals", "config"),
        *("norms", "data", "training"),
    ),
    "evaluation": (
        *("colours", "checksums", "files", "terminal", "config", "mistakes", "norms"),
        *("command_lines", "models", "data", "device", "training", "figure_files"),
        *("results", "spreadsheets"),
    ),
    "predict": (
        *("messages", "checksums", "results", "terminal", "config", "mistakes"),
        *("command_lines", "data", "device", "training", "evaluation", "spreadsheets"),
    ),
    "export": (
        *("messages", "terminal", "results", "config", "mistakes", "command_lines"),
        *("models", "data", "evaluation", "predict"),
    ),
    # many runs
    "compare": (
        *("messages", "checksums", "files", "metrics", "npz", "parquet", "programs"),
        *("results", "config"),
    ),
    "study": (
        *("files", "metrics", "option_names", "programs", "spelling", "terminal"),
        *("config", "evaluation", "compare"),
    ),
    "report": (
        *("colours", "metrics", "option_names", "programs", "results", "terminal"),
        *("command_lines", "compare", "study", "files", "spreadsheets"),
    ),
    "why": (
        *("colours", "endings", "streams", "terminal", "config"),
        *("norms", "command_lines", "data", "device", "training"),
        *("evaluation", "compare", "report", "files", "spreadsheets"),
    ),
    "planning": ("command_lines", "terminal", "compare", "report"),
    "find_lr": (
        *("colours", "endings", "streams", "terminal", "config", "own_norms"),
        *("command_lines", "training", "report", "figure_files"),
    ),
    "sweeps": (
        *("messages", "endings", "spelling", "results", "terminal", "signals"),
        *("config", "cores", "mistakes", "norms", "training", "stacked", "compare"),
        *("files", "locks", "leases"),
    ),
    "search": (
        *("messages", "colours", "endings", "leases", "locks", "metrics", "spelling"),
        *("results", "terminal", "config", "mistakes", "programs", "training"),
        *("sweeps", "figure_files", "files", "spreadsheets"),
    ),
    # entry points
    "hydra_plugins": (
        *("messages", "endings", "config", "mistakes", "stacked", "sweeps"),
        "search",
    ),
    "api": (
        *("endings", "config", "mistakes", "own_norms", "norms", "models", "terminal"),
        *("training", "evaluation", "compare", "report", "sweeps", "files", "check"),
        *("why", "predict", "results"),
    ),
    "main": (
        *("endings", "terminal", "signals", "config", "mistakes", "own_norms", "help"),
        *("programs", "training", "sweeps"),
    ),
    "__main__": (
        *("planning", "find_lr"),
        *("check", "spelling", "evaluation", "predict", "export", "report", "why"),
        *("sweeps", "main"),
    ),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCE.rglob("*.py")}


def part_of(module: str) -> str:
    """`training` for `normlab.training.fit`, `main` for `normlab.main`."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "normlab" else first


def imports(module: str) -> Iterator[str]:
    """Our modules that a module imports: at its head, in functions, for types."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found = submodule if submodule in MODULES else node.module
                if found in MODULES:
                    yield found


GRAPH = {module: set(imports(module)) - {"normlab"} for module in MODULES}


def test_the_table_names_every_part_once_and_in_order():
    parts = {part_of(module) for module in MODULES} - {""}
    assert parts == set(ARCHITECTURE)
    order = list(ARCHITECTURE)
    for part, allowed in ARCHITECTURE.items():
        assert all(order.index(other) < order.index(part) for other in allowed), part


@pytest.mark.parametrize("part", ARCHITECTURE)
def test_a_part_imports_what_the_table_allows(part):
    found = {
        part_of(other)
        for module, others in GRAPH.items()
        for other in others
        if part_of(module) == part
    }
    assert found - {part} == set(ARCHITECTURE[part])


def test_no_modules_import_each_other_in_a_circle():
    left = {module: set(others) for module, others in GRAPH.items()}
    while free := [module for module, others in left.items() if not others & set(left)]:
        for module in free:
            del left[module]
    assert not left, f"modules in or behind a circle: {sorted(left)}"


def test_only_entry_points_import_the_command_line():
    importers = {module for module, others in GRAPH.items() if "normlab.main" in others}
    assert importers == {"normlab.__main__"}
