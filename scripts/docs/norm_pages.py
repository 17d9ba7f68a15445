"""One page per norm: formula, figure, paper, use, options, and what the tests check."""

import ast
import importlib.util
import inspect
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from docs.configuration import key_table, with_code
from docs.norm_figures import SMALL, cubes, describe, drawing
from docs.norm_tables import read_tables
from docs.paths import CONF, FRAGMENTS, PAGES, ROOT, write_if_changed
from normlab.config.schema import Option, options

FOLDER = PAGES / "reference" / "norms"
CONTRACT = ROOT / "tests" / "norms" / "test_contract.py"

PAGE = """# `{name}`: {title}

{heading}

$$
{formula}
$$

| | |
|---|---|
| statistics over | {over} |
| in evaluation | {evaluation} |
| output of a sample depends on its batch | {batch} |
| paper | {paper} |

The symbols are those of [the table of all norms](index.md).

## Which values share statistics

```{{raw}} html
:file: ../../_generated/norms/{name}.svg
```

{caption}

## When to use it

Use it {when}. Mind that {pitfalls}.

## Options

{options}

## In Python

{api}

## What the tests check

`tests/norms/test_contract.py` holds this norm to the following; other files test its
values:

{checks}
"""
CAPTION = (
    "Orange: one output. Blue: the other inputs on which it depends, found by its "
    "gradient. {described}."
)


def write_pages() -> None:
    """Write the pages of all norms."""
    what, when = read_tables()
    for name, option in options("norm").items():
        if name not in what or name not in when:
            raise ValueError(
                f"docs/reference/norms/index.md has no row for norm={name}"
            )
        write_if_changed(FOLDER / f"{name}.md", page(option, what[name], when[name]))


def page(option: Option, what: dict[str, str], when: dict[str, str]) -> str:
    """The page of one norm, from its file, its rows in the tables, and its class."""
    title, heading = title_and_text(option.heading)
    found = cubes(option.name, configuration(option.name))
    write_if_changed(FRAGMENTS / "norms" / f"{option.name}.svg", drawing(found))
    described = "; ".join(f"in {cube.title}, {describe(cube)}" for cube in found)
    if len(found) == 1:
        described = describe(found[0]).capitalize()
    if option.name in SMALL:
        settings = SMALL[option.name].items()
        small = ", ".join(f"`norm.{key}={value}`" for key, value in settings)
        described += f". The figure has {small}"
    return PAGE.format(
        name=option.name,
        title=title,
        heading=heading,
        formula=formula(what["y"]),
        over=what["statistics over"],
        evaluation=what["evaluation"],
        batch=what["batch"],
        paper=paper(what["paper"]),
        caption=CAPTION.format(described=described[0].upper() + described[1:]),
        when=when["when"],
        pitfalls=when["pitfalls"],
        options=key_table(option.keys.values()),
        api=api(option),
        checks="\n".join(f"- {check}" for check in checks(option.name)),
    )


def title_and_text(heading: list[str]) -> tuple[str, str]:
    """The name of the norm, and the whole comment on top of its file."""
    text = " ".join(heading)
    name = text.partition(" (")[0].partition(":")[0].partition(" over ")[0]
    return name.partition(" that ")[0], with_code(text)


def formula(cell: str) -> str:
    """The formulas of a cell as one displayed formula, with the words between them."""
    _, first, *rest = cell.split("$")
    shown = f"y = {first}"
    for text, other in zip(rest[::2], rest[1::2], strict=False):
        words = text.strip(" ,;").replace("`", "")
        shown += rf" \qquad \text{{{words}}} \quad {other}"
    return shown


def paper(number: str) -> str:
    if number == "-":
        return "none on arXiv"
    return f"[arXiv {number}](https://arxiv.org/abs/{number})"


def api(option: Option) -> str:
    """What the file builds, from its docstring."""
    from hydra.utils import get_object

    if not option.target.startswith("normlab."):
        return f"`{option.target}`, which is part of PyTorch."
    kind = "class" if inspect.isclass(get_object(option.target)) else "function"
    members = "\n   :members: forward" if kind == "class" else ""
    # Several files may build the same with other settings; the index leads to one page.
    index = "" if option.name == first_that_builds(option.target) else "\n   :no-index:"
    return f"```{{eval-rst}}\n.. auto{kind}:: {option.target}{members}{index}\n```"


def first_that_builds(target: str) -> str:
    """The norm with this target that comes first in the table of all norms."""
    table, _ = read_tables()
    norms = options("norm")
    return next(name for name in table if norms[name].target == target)


def configuration(name: str) -> dict[str, Any]:
    """What a run builds the norm from: the layer, and what acts on weights."""
    from omegaconf import OmegaConf

    file = OmegaConf.to_container(OmegaConf.load(CONF / "norm" / f"{name}.yaml"))
    defaults = file.pop("defaults", [])
    if not defaults:
        return {"norm": file, "reparametrize": None}
    base = defaults[0].partition("@")[0]
    return configuration(base) | {"reparametrize": file["reparametrize"]}


@cache
def contract() -> tuple[ModuleType, list[ast.FunctionDef]]:
    """The contract suite, and its tests."""
    specification = importlib.util.spec_from_file_location("contract", CONTRACT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    nodes = ast.parse(CONTRACT.read_text()).body
    tests = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    return module, [test for test in tests if test.name.startswith("test_")]


def checks(name: str) -> list[str]:
    """The tests of the contract that a norm must pass, in words."""
    module, tests = contract()
    on_weights = configuration(name)["reparametrize"] is not None
    found = []
    for test in tests:
        arguments = {argument.arg for argument in test.args.args}
        evaluate = evaluator(module, name)
        if "network_on_weights" in arguments:
            applies = on_weights
        elif "name" in arguments:
            applies = named(test, evaluate) and not skipped(test, evaluate)
        else:
            applies = mentions(test, name)
        if applies:
            found.append(test.name.removeprefix("test_").replace("_", " "))
    return found


def evaluator(module: ModuleType, name: str) -> Callable[[ast.expr], Any]:
    """A function that evaluates an expression of the suite for one norm."""
    names = vars(module) | {"name": name}
    return lambda node: eval(ast.unparse(node), names)


def named(test: ast.FunctionDef, evaluate: Callable[[ast.expr], Any]) -> bool:
    """Whether this norm is among those by whose names a test is parametrized."""
    for decorator in test.decorator_list:
        if ast.unparse(decorator).startswith("pytest.mark.parametrize('name'"):
            return evaluate(ast.Name("name")) in evaluate(decorator.args[1])
    return True


def skipped(test: ast.FunctionDef, evaluate: Callable[[ast.expr], Any]) -> bool:
    """Whether the test begins with a condition under which it skips this norm."""
    for statement in test.body:
        if isinstance(statement, ast.If) and "pytest.skip" in ast.unparse(statement):
            return bool(evaluate(statement.test))
    return False


def mentions(test: ast.FunctionDef, name: str) -> bool:
    constants = [node for node in ast.walk(test) if isinstance(node, ast.Constant)]
    return any(node.value == name for node in constants)
