"""Docstrings as reStructuredText wants them."""

import re

SECTION = re.compile(r"[A-Z][a-z]+:$")  # Args, Raises, Attributes and the like


def with_literal_blocks(lines: list[str]) -> list[str]:
    """Mark indented blocks as literal, which would otherwise flow as a quotation.

    A formula in plain text stands between blank lines, indented by four spaces. Blocks
    that belong to a directive, a list or a section are left as they are.
    """
    result: list[str] = []
    owner = ""  # the last line that is not indented
    inside = False  # a block that was marked, or belongs to something
    for number, line in enumerate(lines):
        if not line.strip():
            result.append(line)
            continue
        if not line.startswith("    "):
            owner, inside = line, False
        elif not inside:
            inside = True
            after_blank = number > 0 and not lines[number - 1].strip()
            if after_blank and _is_text(owner):
                result += ["::", ""]
        result.append(line)
    return result


def _is_text(line: str) -> bool:
    """Whether an indented block below this line is not its own."""
    if SECTION.match(line) or line.endswith("::"):
        return False
    return not line.startswith(("..", "- ", "* ", ":"))
