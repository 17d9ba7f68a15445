"""The commands and the code of the pages, and how the tests run them.

A comment directly above a block of code says what is special about it:

    <!-- not run: needs a GPU -->          only checked: its settings and options exist
    <!-- process: starts workers -->       run in a process of its own
    <!-- small: dataset=digits -->         run with these settings too
    <!-- file: my_conf/norm/my.yaml -->    a file that later commands use

Every other block of `console`, `bash` or `python` is run as it is, with small settings.
"""

import re
import shlex
from dataclasses import dataclass

from docs import configuration
from docs.paths import PAGES, ROOT

MARKERS = ("not run", "process", "small", "file")
BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>[a-z ]+): ?(?P<value>.*?) -->\n)?"
    r"^(?P<fence>```+)(?P<language>\w+)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)

SMALL = (
    "trainer.max_epochs=1",
    "progress=false",
    "statistics.every_n_epochs=0",
    "logger=[]",
)
SMALL_SEARCH = ("hydra.sweeper.n_trials=2", "hydra.sweeper.seeds=[0]")
SHRUNK = {
    r"^trainer\.max_epochs=\d+$": "trainer.max_epochs=1",
    r"^(seed|dataset\.fold)=range\(\d+\)$": r"\1=range(2)",
    r"^hydra\.sweeper\.n_trials=\d+$": "hydra.sweeper.n_trials=2",
    r"^dataset\.root=PATH$": "dataset.root=data/tiny-imagenet-200",
    r"\bDATA\b": "data",
}


@dataclass(frozen=True)
class Block:
    """A block of code in a page.

    Attributes:
        line: of the page, on which it begins.
        language: behind the fence.
        text: between the fences.
        marker: what the comment above says; empty without one.
        value: the rest of the comment.
    """

    line: int
    language: str
    text: str
    marker: str
    value: str


def pages() -> dict[str, str]:
    """The text of every page that shows commands or code, by its name."""
    found = {"README": (ROOT / "README.md").read_text()}
    for path in sorted(PAGES.rglob("*.md")):
        name = path.relative_to(PAGES).with_suffix("").as_posix()
        if not is_generated(name):
            found[f"docs/{name}"] = path.read_text()
    found["docs/reference/configuration/index"] = configuration.index_page()
    return found


def is_generated(name: str) -> bool:
    """Whether the build writes this page."""
    folder, _, page = name.rpartition("/")
    if folder == "reference/norms":
        return page != "index"
    written = ("_build", "_generated", "notebooks", "reference/configuration")
    return folder.startswith(written)


def blocks(text: str) -> list[Block]:
    """All blocks of a page.

    Raises:
        ValueError: a comment above a block has an unknown word.
    """
    found = []
    for match in BLOCK.finditer(text):
        marker = match["marker"] or ""
        if marker and marker not in MARKERS:
            raise ValueError(
                f"a comment above code must begin with {', '.join(MARKERS)}, "
                f"got {marker!r}"
            )
        line = text.count("\n", 0, match.start("fence")) + 1
        value = match["value"] or ""
        found.append(Block(line, match["language"], match["text"], marker, value))
    return found


def commands(block: Block) -> list[str]:
    """The commands of a block, without prompts; continued lines are joined."""
    text = re.sub(r"\\\n\s*", "", block.text)
    lines = list(map(str.strip, text.splitlines()))
    if block.language == "console":
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in lines if line and not line.startswith("#")]


def words(command: str) -> list[str]:
    """The words of a command, without a comment behind it and what is set before it."""
    found = shlex.split(command, comments=True)
    while found and re.match(r"[A-Z_]+=", found[0]):
        del found[0]
    return found


def small(found: list[str], extra: str = "") -> list[str]:
    """The words of `train.py` with settings under which it takes about a second."""
    local = ("hydra/launcher=queue", "hydra/launcher=stacked")
    shrunk = [_shrink(word) for word in found if word not in local]
    if "--help" in found or "--cfg" in found:
        return shrunk

    defaults = [*SMALL]
    if any(word.startswith("hydra/sweeper=") for word in found):
        defaults += SMALL_SEARCH
    given = shlex.split(extra)
    kept = _without(shrunk, given)
    return [*kept, *_without(defaults, [*kept, *given]), *given]


def _without(settings: list[str], others: list[str]) -> list[str]:
    """Settings whose keys the others do not set."""
    keys = set(map(_key, others))
    return [word for word in settings if _key(word) not in keys]


def _key(word: str) -> str:
    key, _, _ = word.partition("=")
    return key


def _shrink(word: str) -> str:
    """One word: few epochs, few seeds, few trials, and data that are there."""
    for pattern, replacement in SHRUNK.items():
        word = re.sub(pattern, replacement, word)
    return word
