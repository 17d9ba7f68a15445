"""Norms are examined in Python, with the words of `normlab check`."""

import re

import pytest
import torch
from torch import nn

import normlab


class Centred(nn.Module):
    """Normalizes over the batch, in evaluation too."""

    def __init__(self, num_features, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x):
        normalized = (x - x.mean(0)) / (x.var(0, unbiased=False) + self.eps).sqrt()
        return normalized * self.weight + self.bias


@pytest.fixture(scope="module")
def examined():
    return normlab.examine(Centred, like="batch")


def test_faults_are_sentences_and_cost_points(examined):
    assert len(examined.faults) >= 1
    assert all(sentence.endswith((".", "?")) for sentence in examined.faults)
    assert 0 < examined.points < examined.possible


def test_a_terminal_shows_the_words_of_the_command(examined):
    words = " ".join(repr(examined).split())
    assert examined.faults[0] in words
    assert f"{examined.points} of {examined.possible} points" in words
    assert "\x1b" not in words


def test_a_notebook_shows_faults_and_the_fix(examined):
    html = examined._repr_html_()
    finding = examined.examination.faults[0]
    assert html.count('<div class="finding') == len(examined.examination.findings)
    text = re.sub(r"\s+", " ", html).replace("&#39;", "'")
    assert finding.sentence in text
    assert finding.fix in text
    assert "<b>Why.</b>" not in text


def test_reasons_come_if_they_are_asked_for(examined):
    explained = normlab.api.examined.ExaminedNorm(examined.examination, explain=True)
    assert explained._repr_html_().count("<b>Why.</b>") == len(
        examined.examination.findings
    )


def test_nothing_is_wrong_with_the_batch_norm_of_pytorch():
    examined = normlab.examine(nn.BatchNorm1d)
    assert examined.faults == []
    assert examined.points == examined.possible
    assert "nothing is wrong" in examined._repr_html_()


def test_a_file_that_does_not_import_is_a_fault(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import nothing_of_this_name\n")
    examined = normlab.examine(f"{path}:Norm")
    assert examined.points == 0
    assert "nothing_of_this_name" in examined.faults[0]


@pytest.mark.parametrize("kind", ["bath", ""])
def test_a_kind_that_does_not_exist_is_refused(kind):
    with pytest.raises(ValueError) as error:
        normlab.examine(Centred, like=kind)
    assert str(error.value) == (
        f"like must be one of batch, layer, group, instance, rms, other, got {kind!r}"
    )
