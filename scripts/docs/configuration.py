"""The reference of the configuration: one page per group of `conf/`."""

import re
from collections.abc import Iterable

from docs.paths import PAGES, write_if_changed
from normlab.config.schema import (
    RECIPES,
    Key,
    Option,
    general_keys,
    groups,
    options,
)
from normlab.config.types import alternatives
from normlab.help import first_sentence

FOLDER = PAGES / "reference" / "configuration"
TITLES = {
    "dataset": "Data sets",
    "model": "Models",
    "norm": "Norms",
    "optimizer": "Optimizers",
    "scheduler": "Learning-rate schedules",
    "device": "Devices",
    "logger": "Loggers",
    "callbacks": "Callbacks",
    "experiment": "Experiments",
    "debug": "Debug modes",
    "study": "Studies",
    "hydra/launcher": "Launchers",
    "hydra/sweeper": "Sweepers",
    "hydra/sweeper/sampler": "Samplers of a search",
    "hydra/sweeper/pruner": "Pruners of a search",
}
# What a page says beside the meaning of its group.
MORE = {
    "norm": "[The pages of the norms](../norms/index.md) have their formulas.",
    "optimizer": "[](../../how-to/optimizers.md) shows how to take any other optimizer "
    "of PyTorch or timm.",
    "scheduler": "[](../../how-to/schedules.md) explains warm-up and intervals.",
    "device": "[](../../how-to/device.md) says when each switch pays.",
    "callbacks": "[](../../how-to/callbacks.md) shows how to take any other callback, "
    "and what callbacks cost.",
    "debug": "[](../../how-to/debug.md) says what each mode is for.",
    "study": "[](../../how-to/study.md) explains how one is run and answered, and has "
    "the keys of a study and of its claims.",
}
INDEX = """# Configuration

A run is composed from the files of `conf/`. `conf/config.yaml` has the keys below; each
group is a folder beside it, from which a command picks one file:

```console
$ python train.py model=lenet5 norm=group optimizer.lr=0.05 trainer.max_epochs=3
```

picks `conf/model/lenet5.yaml` and `conf/norm/group.yaml`, and sets two keys. A key
that does not exist is an error, which names the nearest one that does. These pages are
generated from the files and their comments; `python train.py --help` lists the same in
the terminal.

In every file `_target_` names the function or class that the file builds, and
`_partial_: true` means that the package supplies the remaining arguments. A target
must lie in this package, in a library that normlab uses, or in a package that
`trusted_packages` names.

## General keys

{table}

## Groups

{groups}

```{{toctree}}
:hidden:

{pages}
```
"""


def write_pages() -> None:
    """Write the pages of all groups and their index."""
    write_if_changed(FOLDER / "index.md", index_page())
    for group in groups():
        write_if_changed(FOLDER / f"{page_name(group)}.md", group_page(group))


def page_name(group: str) -> str:
    """`sweeper-pruner` for `hydra/sweeper/pruner`."""
    return group.removeprefix("hydra/").replace("/", "-")


def index_page() -> str:
    """The general keys, and links to the pages of the groups."""
    links = []
    for group in groups():
        names = ", ".join(map(code, options(group)))
        links.append(f"- [{TITLES[group]}]({page_name(group)}.md): {names}")
    return INDEX.format(
        table=key_table(general_keys().values()),
        groups="\n".join(links),
        pages="\n".join(map(page_name, groups())),
    )


def group_page(group: str) -> str:
    """The page of one group, with a section per option."""
    sections = [f"# {TITLES[group]}: `{group}=`", introduction(group)]
    for option in options(group).values():
        sections.append(f"({anchor(option)})=\n## `{option.name}`")
        if group in RECIPES:
            sections.append(recipe(option))
        else:
            sections += [with_code(" ".join(option.heading)), target_line(option)]
            sections.append(key_table(option.keys.values()))
    return "\n\n".join(section for section in sections if section) + "\n"


def introduction(group: str) -> str:
    """What a group is for, where its files lie, and what they must have."""
    found = groups()[group]
    sentences = [
        f"{with_code(found.meaning[0].upper() + found.meaning[1:])}.",
        f"`{group}=NAME` picks a file of `conf/{group}/`.",
    ]
    if found.required:
        names = ", ".join(map(code, found.required))
        sentences.append(f"A file of your own must have {names}.")
    return " ".join([*sentences, MORE.get(group, "")]).strip()


def anchor(option: Option) -> str:
    """The label by which other pages refer to an option."""
    return f"conf-{option.group.replace('/', '-')}-{option.name}"


def target_line(option: Option) -> str:
    """What the file builds."""
    if not option.target:
        return ""
    return f"Builds `{option.target}`."


def key_table(keys: Iterable[Key]) -> str:
    """Key, type, default and meaning, as a table of Markdown."""
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    keys = list(keys)
    for key in keys:
        holds_others = any(other.name.startswith(f"{key.name}.") for other in keys)
        if holds_others:
            continue
        cells = [code(key.name), type_in_words(key.type)]
        cells += [code(key.default), with_code(key.meaning)]
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return "\n".join(lines) if len(lines) > 2 else "No options."


def type_in_words(type: str) -> str:
    """A type with null at its end: `text, or null`."""
    names = alternatives(type)
    if "null" not in names:
        return type
    names.remove("null")
    return f"{' or '.join(names)}, or null"


def recipe(option: Option) -> str:
    """An experiment or a study: its first sentence, and the file."""
    first = first_sentence(option)
    end = "" if first.endswith("?") else "."
    file = option.source.removeprefix("# @package _global_\n").strip()
    return f"{with_code(first)}{end}\n\n```yaml\n{file}\n```"


# What is code in a comment: KEY=VALUE, and the keys of groups.
CODE = re.compile(
    r"(?<![\w`/.])("
    r"[+]?[a-z_]+(?:[./][a-z_0-9]+)*=\S*[\w\])'\"]"
    r"|(?:dataset|model|norm|optimizer|trainer|paths)\.[a-z_]+[a-z]"
    r")"
)


def with_code(text: str) -> str:
    """The text of a comment as Markdown, with its settings marked as code."""
    parts = re.split(r"(`[^`]*`)", text)
    for number in range(0, len(parts), 2):
        pieces = CODE.split(parts[number])
        pieces[::2] = [re.sub(r"([<*_])", r"\\\1", piece) for piece in pieces[::2]]
        pieces[1::2] = [f"`{piece}`" for piece in pieces[1::2]]
        parts[number] = "".join(pieces)
    return "".join(parts)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def cell(text: str) -> str:
    """Text that may stand in a cell of a table."""
    return text.replace("|", "\\|")
