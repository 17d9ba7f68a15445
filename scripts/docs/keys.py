"""Settings that a page mentions, compared with those that the configuration has."""

import re
from collections.abc import Iterator
from functools import cache

from normlab.config import schema
from normlab.config.schema import general_keys, known_keys, options

# KEY=VALUE, GROUP/NAME=VALUE or a dotted key, as a whole word of code.
SETTING = re.compile(r"^[+~]{0,2}(?P<key>[a-z_]+(?:[./][a-zA-Z_]\w*)*)(?P<value>=.*)?$")
# Names that no file of conf/ lists: what a user may add, and Hydra's own.
FREE = (
    "model.options.",
    "hydra.sweeper.sampler.",
    "hydra.sweeper.pruner.",
    "hydra.sweeper.params",
    "hydra.job",
    "hydra.overrides",
    "hydra.run.",
    "hydra.sweep.",
    "hydra.verbose",
    "choices.",
    "study.try",
)
ENDINGS = {
    "json",
    "csv",
    "yaml",
    "py",
    "md",
    "ckpt",
    "png",
    "html",
    "txt",
    "journal",
    "db",
    "onnx",
}
# Up to the next heading, the first columns of tables have words of another program.
OTHERS_WORDS = "% first column: another program"  # a comment of MyST
PLACEHOLDER = re.compile(r"^=[A-Z_]+$|^=$|[*()$,]|\bNAME\b|\bKEY\b")


def unknown_keys(page: str) -> Iterator[tuple[int, str, str]]:
    """Settings of a page of Markdown that do not exist: line, setting, and a hint."""
    for number, line in lines_about_us(page):
        for word in words_of_code(line):
            if problem := problem_of(word):
                yield number, word, problem


def lines_about_us(page: str) -> Iterator[tuple[int, str]]:
    """The lines of a page with their numbers, without the words of other programs."""
    has_others_words = False
    for number, line in enumerate(page.splitlines(), start=1):
        if line.startswith("#"):
            has_others_words = False
        if line == OTHERS_WORDS:
            has_others_words = True
        if has_others_words and line.startswith("|"):
            line = "|".join(line.split("|")[2:])
        yield number, line


def words_of_code(line: str) -> Iterator[str]:
    """The words of inline code in a line."""
    for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", line):
        yield from code.split()


def problem_of(word: str) -> str:
    """Why a word is no setting of this project; empty if it is one, or no setting."""
    found = SETTING.match(word.strip("'\""))
    if not found:
        return ""
    key, value = found["key"], found["value"] or ""
    first = re.split(r"[./]", key)[0]
    if first not in first_names() and not ("." in key and value):
        return ""
    if first == key and not value:
        return ""
    if key in groups():
        return problem_of_choice(key, value)
    is_file = not value and key.rpartition(".")[2] in ENDINGS
    is_placeholder = key.rpartition(".")[2].isupper()  # as in optimizer.KEY
    if is_file or is_placeholder or key.endswith("._target_"):
        return ""
    if key in known_keys() or key.startswith(FREE) or is_parent(key):
        return ""
    return hint(key, known_keys())


def problem_of_choice(group: str, value: str) -> str:
    """Why `GROUP=NAME` names no file; several names are separated by commas."""
    if not value or PLACEHOLDER.search(value.replace(",", "")):
        return ""
    names = set(options(group)) if group in groups() else set()
    for name in value.removeprefix("=").strip("'\"[]").split(","):
        is_own_norm = group == "norm" and re.search(r"\.py(:\w+)?$", name)
        is_known = name in {*names, "null", "basic"} or name.isupper() or is_own_norm
        if name and not is_known:
            return hint(name, names)
    return ""


@cache
def groups() -> set[str]:
    return set(schema.groups())


@cache
def first_names() -> set[str]:
    names = {key.split(".")[0] for key in general_keys()}
    return names | {group.split("/")[0] for group in groups()}


def is_parent(key: str) -> bool:
    return any(name.startswith(f"{key}.") for name in known_keys())


def hint(name: str, known: set[str]) -> str:
    from normlab.spelling import did_you_mean

    return did_you_mean(name, sorted(known)) or "; no file of conf/ has it"
