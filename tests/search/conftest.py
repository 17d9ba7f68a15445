"""A search in a temporary folder."""

import pytest

from normlab.search.definition import define
from normlab.search.options import Options
from normlab.search.storage import Search

from .outcomes import OPTIONS, SPACE


@pytest.fixture
def search(tmp_path):
    """search(n_trials) -> a search over `SPACE`; its trials are released at the end."""
    started = []

    def start(n_trials, metric="val/accuracy", direction="maximize", space=SPACE):
        options = Options(**OPTIONS | {"n_trials": n_trials})
        definition = define(space, metric, direction, [0, 4], {})
        started.append(Search(tmp_path, "a search", options, space, definition))
        return started[-1]

    yield start
    for searching in started:
        searching.__exit__()
