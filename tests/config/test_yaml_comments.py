import pytest

from normlab.config.identity import configuration_directory
from normlab.config.yaml_comments import read_commented

YAML = """# @package _global_
# A heading.
# Its second line.
defaults:
  - _self_
  - dataset: digits # what is trained on
  # what a command runs,
  # with -m
  - override hydra/sweeper: grid
  - none@norm
first: 1 # what it is
# above the key,
# on two lines
second: [1, 2]
third: {left: true, right: null} # left: this side; right: (text) that side
fourth:
  inner: "a # in quotes" # behind it
fifth:
  - a: 1
"""


def test_comments_are_found_behind_and_above_keys():
    file = read_commented(YAML)
    assert file.heading == ["A heading.", "Its second line."]
    assert file.package == "_global_"
    comments = {".".join(path): entry.comment for path, entry in file.keys.items()}
    assert comments == {
        "defaults": "",
        "first": "what it is",
        "second": "above the key, on two lines",
        "third": "left: this side; right: (text) that side",
        "third.left": "this side",
        "third.right": "(text) that side",
        "fourth": "",
        "fourth.inner": "behind it",
        "fifth": "",
    }
    assert file.keys["second",].value == [1, 2]
    assert file.keys["fourth", "inner"].source == '"a # in quotes"'
    assert file.keys["fifth",].source == "[{a: 1}]"


def test_groups_of_the_defaults_list_have_comments_too():
    groups = read_commented(YAML).defaults
    found = {name: (entry.value, entry.comment) for name, entry in groups.items()}
    assert found == {
        "dataset": ("digits", "what is trained on"),
        "hydra/sweeper": ("grid", "what a command runs, with -m"),
    }


def test_a_file_that_is_no_mapping_is_refused():
    with pytest.raises(ValueError, match="must be a mapping"):
        read_commented("- a")


def test_lines_of_conf_are_at_most_120_columns_wide():
    folder = configuration_directory()
    wide = []
    for path in sorted(folder.rglob("*.yaml")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if len(line) > 120:
                wide.append(f"{path.relative_to(folder)}:{number}")
    assert not wide
