"""Norms of the user's own, offered to the runs of a process."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from normlab.config.trust import OWN_NORMS_VARIABLE
from normlab.norms import own
from normlab.norms.own import find_own_norm, offer, offer_file, own_norm, share

SCALE = """
from torch import nn

class Scale(nn.Module):
    def __init__(self, num_features, factor=2.0):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor
"""


@pytest.fixture(autouse=True)
def nothing_offered(monkeypatch):
    monkeypatch.setattr(own, "_offered", {})
    monkeypatch.setenv(OWN_NORMS_VARIABLE, "")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_norms.py"
    path.write_text(SCALE)
    return path


def test_a_norm_is_found_by_name_and_digest(file):
    norm = offer_file(f"{file}:Scale")
    assert norm.name == "my_norms.Scale"
    assert find_own_norm(norm.name, norm.digest) is norm
    layer = own_norm(4, 1, norm=norm.name, source=norm.digest, factor=3.0)
    assert torch.equal(layer(torch.ones(2, 4)), torch.full((2, 4), 3.0))


def test_options_name_the_norm_and_no_file(file):
    options = offer_file(str(file)).options()
    assert options["_target_"] == "normlab.norms.own.own_norm"
    assert str(file.parent) not in str(options)


def test_processes_of_this_one_find_it(file):
    norm = offer_file(f"{file}:Scale")
    program = (
        "from normlab.norms.own import own_norm\n"
        f"print(own_norm(4, 1, norm={norm.name!r}, source={norm.digest!r}).factor)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "2.0\n"


def test_a_norm_that_is_gone_does_not_hide_others(file, monkeypatch):
    gone = file.parent / "gone.py"
    lines = [f"{gone}:Scale", f"{file}:Nothing", f"{file}:Scale"]
    monkeypatch.setenv(OWN_NORMS_VARIABLE, "\n".join(lines))
    norm = offer_file(f"{file}:Scale")
    own._offered.clear()
    assert find_own_norm(norm.name, norm.digest).target.__name__ == "Scale"
    with pytest.raises(ValueError, match=r"to train \(.*gone.py is no"):
        find_own_norm("x.Y", "0")


def test_a_norm_that_nobody_offered_is_not_looked_for(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    with pytest.raises(ValueError, match=r"--trust my_norms\.py:Scale"):
        own_norm(4, 1, norm="my_norms.Scale", source="0" * 16)


def test_a_norm_that_was_changed_is_refused(file):
    before = offer_file(f"{file}:Scale").digest
    own._offered.clear()
    file.write_text(SCALE.replace("* self.factor", "+ self.factor"))
    after = offer_file(f"{file}:Scale")
    assert after.digest != before
    with pytest.raises(ValueError, match="take the file as it was then"):
        find_own_norm("my_norms.Scale", before)


def test_a_class_of_this_process_can_be_offered():
    class Same(torch.nn.Identity):
        pass

    norm = offer(Same)
    assert norm.name == "test_own.Same"
    assert isinstance(own_norm(2, 1, norm=norm.name, source=norm.digest), Same)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (nn.Identity(), "got a layer that was built already; give its class Identity"),
        (lambda c: nn.Identity(), "a function with a name, got <lambda>"),
    ],
)
def test_what_is_no_class_with_a_name_is_refused(target, message):
    with pytest.raises(ValueError, match=message):
        offer(target)


def test_a_partial_is_shared_with_processes():
    norm = share(offer(partial(nn.GroupNorm, 2)))
    del own._offered[norm.digest]
    found = find_own_norm(norm.name, norm.digest)
    assert found.target.args == (2,)
