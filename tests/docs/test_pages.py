"""What the generators and the checks of the documentation do."""

import re

import pytest
from docs.architecture import direct_imports, levels, read_table
from docs.command_lines import SCRIPTS, options_table, parser_of
from docs.commands import Block, blocks, commands, small
from docs.configuration import group_page, with_code
from docs.docstrings import with_literal_blocks
from docs.keys import unknown_keys
from docs.names import missing_names
from docs.norm_figures import CORNER, influences
from docs.norm_pages import checks, formula
from docs.paths import ROOT

from normlab.config.schema import groups, options
from normlab.norms import BatchNorm, GroupNorm, LayerNorm


@pytest.mark.parametrize("group", groups())
def test_a_page_has_every_key_of_its_options(group):
    page = group_page(group)
    for option in options(group).values():
        assert f"## `{option.name}`" in page
        if group not in ("experiment", "debug", "study"):
            settings = [key for key in option.keys.values() if key.default]
            assert all(f"`{key.name}`" in page for key in settings)


def test_settings_in_comments_become_code_and_the_rest_is_escaped():
    text = "set norm.size=3 or `x`, see root/<name>/*.jpg"
    assert with_code(text) == "set `norm.size=3` or `x`, see root/\\<name>/\\*.jpg"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("optimizer.lr=0.1", None),
        ("norm=none,custom", None),
        ("norm.size", None),
        ("hydra.sweeper.n_trials=20", None),
        ("result.json", None),
        ("optimizer.lrr=0.1", "did you mean 'optimizer.lr'?"),
        ("optimzer.lr=0.1", "did you mean 'optimizer.lr'?"),
        ("norm=custm", "did you mean 'custom'?"),
        ("hydra/launcher=cue", "no file of conf/ has it"),
    ],
)
def test_unknown_settings_in_a_page_are_found(word, hint):
    found = list(unknown_keys(f"A line.\nUse `{word}` here."))
    if hint is None:
        assert found == []
    else:
        ((line, wrong, text),) = found
        assert (line, wrong) == (2, word)
        assert hint in text


def test_files_and_names_that_are_gone_are_found():
    page = (
        "`src/normlab/norms/batch.py` `tests/norms/test_*.py` `normlab.norms.RMSNorm`"
    )
    assert list(missing_names(page)) == []
    page = (
        "A line.\n`src/normlab/gone.py`, `normlab.norms.Gone`, `conf/norm/<name>.yaml`"
    )
    assert list(missing_names(page)) == [
        (2, "src/normlab/gone.py"),
        (2, "normlab.norms.Gone"),
    ]


def test_words_of_another_program_are_left_alone_up_to_the_next_heading():
    row = "| `data.size=1 src/train.py` | `trainer.wrong=2 src/gone.py` |"
    page = f"{row}\n% first column: another program\n{row}\n## More\n{row}"
    found = [(line, word) for line, word, _ in unknown_keys(page)]
    theirs, ours = "data.size=1", "trainer.wrong=2"
    assert found == [(1, theirs), (1, ours), (3, ours), (5, theirs), (5, ours)]
    assert list(missing_names(page)) == [
        (1, "src/train.py"),
        (1, "src/gone.py"),
        (3, "src/gone.py"),
        (5, "src/train.py"),
        (5, "src/gone.py"),
    ]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_files_outside_of_the_site_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text())
    relative = [link for link in links if "://" not in link]
    assert [link for link in relative if not (ROOT / link).exists()] == []


def test_figures_show_which_inputs_an_output_depends_on():
    batch = influences(BatchNorm(6, 1).double().train(), CORNER)
    assert batch == {(n, 0, p) for n in range(6) for p in range(6)} - {CORNER}
    assert influences(BatchNorm(6, 1).double().eval(), CORNER) == frozenset()
    layer = influences(LayerNorm(6, 1).double(), CORNER)
    assert layer == {(0, c, p) for c in range(6) for p in range(6)} - {CORNER}
    groups = influences(GroupNorm(6, 1, num_groups=3).double(), CORNER)
    assert groups == {(0, c, p) for c in range(2) for p in range(6)} - {CORNER}


def test_indented_formulas_of_docstrings_stay_lines():
    text = ["A layer.", "", "    y = x", "    z = y", "", "More.", "", "Args:"]
    argument = ["    x: the input", "        and more.", ""]
    expected = ["A layer.", "", "::", "", *text[2:]]
    assert with_literal_blocks([*text, *argument]) == [*expected, *argument]
    directive = [".. math::", "", "    y = x"]
    assert with_literal_blocks(directive) == directive


def test_a_formula_keeps_the_words_between_its_parts():
    assert formula("$a$, written out") == "y = a"
    assert formula("$x$; weights are $w$") == (
        r"y = x \qquad \text{weights are} \quad w"
    )


def test_the_checks_of_a_norm_are_those_of_the_contract():
    assert "a state dict comes back" in checks("layer")
    closed_form = "inference after some updates follows the closed form"
    assert closed_form in checks("custom")
    assert closed_form not in checks("layer")
    on_weights = "the state of norms on weights comes back"
    assert on_weights in checks("weight_norm")
    assert on_weights not in checks("custom")


def test_the_picture_of_the_architecture_leaves_out_what_follows():
    table = {"a": (), "b": ("a",), "c": ("a", "b")}
    assert direct_imports(table) == {"a": (), "b": ("a",), "c": ("b",)}
    assert levels(table) == [["a"], ["b"], ["c"]]
    rows = levels(read_table())
    assert sorted(part for row in rows for part in row) == sorted(read_table())


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_options_of_a_script_are_listed(script):
    table = options_table(parser_of(script))
    assert table.startswith("| option | meaning |")


def test_markers_say_how_a_block_is_run():
    page = "<!-- not run: needs a GPU -->\n```console\n$ python x\nout\n```\n"
    (block,) = blocks(page)
    assert block == Block(2, "console", "$ python x\nout\n", "not run", "needs a GPU")
    assert commands(block) == ["python x"]
    with pytest.raises(ValueError, match="must begin with .*, got 'skipped'"):
        blocks("<!-- skipped: why -->\n```bash\nls\n```\n")


def test_continued_lines_are_one_command():
    (block,) = blocks("```bash\n# a comment\npython a \\\n    b=1\n```\n")
    assert commands(block) == ["python a b=1"]


def test_small_settings_replace_those_of_the_page():
    given = ["-m", "seed=range(10)", "trainer.max_epochs=20", "hydra/launcher=queue"]
    assert small(given, "dataset=digits seed=0") == [
        *("-m", "trainer.max_epochs=1", "progress=false"),
        *("statistics.every_n_epochs=0", "logger=[]", "dataset=digits", "seed=0"),
    ]
