"""What a run asks of the file system, which may be one that many machines share."""

import json
import subprocess
import sys
from collections import Counter

import pytest

COUNT = '''
import json, os, sys
from collections import Counter

calls = Counter()
openings = Counter()
folder = sys.argv.pop(1)
# What Python tells of: opening, renaming, deleting, creating and listing.
AUDITED = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir",
           "os.scandir", "os.truncate", "os.link", "os.symlink", "os.chmod", "os.utime")

def name_in_folder(file):
    """The name of a file below the folder of outputs, else None."""
    if isinstance(file, int):
        path = os.readlink(f"/proc/self/fd/{file}")
    else:
        path = os.path.abspath(os.fsdecode(file))
    return os.path.basename(path) if path.startswith(folder) else None

def audit(event, arguments):
    of_descriptor = event == "open" and isinstance(arguments[0], int)
    if event not in AUDITED or of_descriptor:
        return
    name = name_in_folder(arguments[0])
    if name is not None:
        calls[event] += 1
    if event == "open" and name and "events.out" in name:
        openings[name] += 1

def count(name):
    original = getattr(os, name)

    def counted(first, *arguments, **options):
        if name_in_folder(first) is not None:
            calls[name] += 1
        return original(first, *arguments, **options)

    setattr(os, name, counted)

# And what it does not tell of.
for name in ("stat", "lstat", "fstat", "fsync"):
    count(name)
sys.addaudithook(audit)

from normlab.main import main

try:
    main()
finally:
    print(json.dumps([dict(calls), dict(openings)]), file=sys.stderr)
'''


@pytest.fixture(scope="module")
def count(tmp_path_factory):
    """count(*words): calls in the run folder by name, and openings by events file."""

    def run(*words):
        outputs = tmp_path_factory.mktemp("outputs")
        command = [
            *(sys.executable, "-c", COUNT, str(outputs), "device=cpu"),
            *("trainer.max_epochs=10", f"paths.outputs={outputs}", *words),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        calls, openings = json.loads(done.stderr.splitlines()[-1])
        return Counter(calls), Counter(openings)

    return run


@pytest.mark.slow
def test_a_run_of_ten_epochs(count):
    calls, openings = count()
    assert calls["open"] > 20  # the counters work
    assert calls["fsync"] >= 5
    assert calls.total() < 150
    assert openings.total() <= 5  # written, measured once, and digested


@pytest.mark.slow
def test_a_checkpoint_in_every_epoch(count):
    calls, openings = count("checkpoint.every_seconds=0")
    assert calls["os.rename"] >= 20
    assert calls.total() < 350
    assert max(openings.values()) <= 12  # written, digested, measured ten times
    assert openings.total() <= 15
