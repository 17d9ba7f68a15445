"""A search in a temporary folder."""

import errno
import fcntl
import os

import pytest

from normlab.leases import VARIABLE, Record
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


@pytest.fixture
def lease(monkeypatch):
    """lease(folder, renewals) writes the lease of trial 0 of another machine.

    There are no locks, and a lease is stale after half a second.
    """

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def write(folder, renewals=0):
        record = Record("a token", "another machine", 1, "", 0.5, f"{renewals:09}")
        (folder / ".trial-0.lock.lease.1").write_bytes(record.to_bytes())

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setenv(VARIABLE, "0.5")
    return write
