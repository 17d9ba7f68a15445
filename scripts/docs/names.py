"""Files and Python names that a page mentions, and that are not there."""

import pydoc
import re
from collections.abc import Iterator

from docs.keys import lines_about_us, words_of_code
from docs.paths import ROOT

FILE = re.compile(r"^(?:src|tests|scripts|conf|benchmarks|docs)/[\w./*-]+$")
NAME = re.compile(r"^normlab(?:\.\w+)+$")


def missing_names(page: str) -> Iterator[tuple[int, str]]:
    """Files and names of a page of Markdown that do not exist, with their lines."""
    for number, line in lines_about_us(page):
        for word in words_of_code(line):
            word = word.rstrip(",;:")
            is_missing_file = FILE.match(word) and not any(ROOT.glob(word.rstrip("/")))
            if is_missing_file or (NAME.match(word) and pydoc.locate(word) is None):
                yield number, word
