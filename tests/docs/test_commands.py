"""Every command and every piece of Python that a page shows is run, or checked."""

import contextlib
import dataclasses
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from docs.command_lines import parser_of
from docs.commands import blocks, commands, pages, small, words
from docs.paths import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image
from small_data import write_small_data
from torchvision.datasets import cifar

from normlab.config.rules import check
from normlab.config.schema import options
from normlab.data import images
from normlab.main import main

NOT_PROGRAMS_OF_OURS = ("tensorboard", "source", "jupyter", "jupytext")
SAMPLES = 100
PAGES = pages()
SAVE_FIGURE = Figure.savefig


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Small data in the published layouts, and photographs in folders."""
    folder = tmp_path_factory.mktemp("data")
    write_small_data(folder)
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(8):
            Image.effect_noise((32, 32), 50 + number).convert("RGB").save(
                folder / "images" / name / f"{number}.png"
            )
    return folder


@pytest.fixture
def here(data, tmp_path, monkeypatch):
    """A folder in which the commands of a page work, on few samples."""
    for name in ("train.py", "scripts", "benchmarks", "conf", "Makefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data").symlink_to(data)
    digits = images.digits()
    inputs_and_targets = {
        name: getattr(digits, name)[:SAMPLES]
        for name in ("train_inputs", "train_targets", "test_inputs", "test_targets")
    }
    few = dataclasses.replace(digits, **inputs_and_targets)
    monkeypatch.setattr(images, "digits", lambda: few)
    # The checksums are those of the published files.
    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)
    monkeypatch.setattr(Figure, "savefig", save_coarsely)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # restores what `main` sets
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


def save_coarsely(figure, path, **options):
    """Spend no time on figures, which tests/report looks at."""
    if str(path).endswith((".svg", ".pdf")):
        Path(path).write_bytes(b"")
    else:
        SAVE_FIGURE(figure, path, **options | {"dpi": 20})


@pytest.mark.filterwarnings("ignore:.*treespec.*", "ignore:.*constant.*")
@pytest.mark.parametrize("page", PAGES)
def test_what_the_page_shows_works(page, here, monkeypatch):
    write_files(here)
    names = {}
    for block in blocks(PAGES[page]):
        place = f"{page}, line {block.line}"
        if block.marker == "file":
            assert (here / block.value).is_file()
        elif block.language == "python":
            ensure_runs()
            exec(compile(block.text, place, "exec"), names)
        elif block.language in ("console", "bash"):
            for command in commands(block):
                try:
                    if block.marker == "not run":
                        check_command(words(command))
                    else:
                        run_command(command, block, monkeypatch)
                except (Exception, SystemExit) as error:
                    error.add_note(f"{place}: {command}")
                    raise


def write_files(folder):
    """The files that pages show, which commands of other pages may use too."""
    for text in PAGES.values():
        for block in blocks(text):
            if block.marker == "file":
                path = folder / block.value
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)


def run_command(command, block, monkeypatch):
    """Run a command with small settings, in this process if that is the same."""
    program, *rest = words(command)
    if program == "make":
        check_make(rest)
        return
    assert program == "python", f"no test knows how to run {program}"
    script, *rest = [with_run(word) for word in rest]
    if script == "train.py":
        rest = small(rest, block.value if block.marker == "small" else "")
        if block.marker == "process":
            run_process(command, rest)
        else:
            run_in_process(script, rest, monkeypatch, main)
    else:
        rest = [word.replace("DATA", "data") for word in rest]
        run = lambda: runpy.run_path(script, run_name="__main__")  # noqa: E731
        run_in_process(script, rest, monkeypatch, run)


def run_in_process(script, rest, monkeypatch, function):
    # `main` sets it; `delenv` would restore nothing where it was not set.
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", [script, *rest])
    GlobalHydra.instance().clear()
    code = 0
    try:
        function()
    except SystemExit as end:
        code = end.code
    assert not code, f"{shlex.join(sys.argv)} ended with {code}"


def run_process(command, rest):
    local = ("hydra/launcher=queue", "hydra/launcher=stacked")
    launcher = [word for word in words(command) if word in local]
    done = subprocess.run(
        [sys.executable, "train.py", *rest, *launcher],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def with_run(word):
    """`outputs/GROUP/RUN` as the folder of a run that is there."""
    match = re.match(r"outputs/(\w+)-(\w+)/RUN$", word)
    if not match:
        return word
    group = Path("outputs") / f"{match[1]}-{match[2]}"
    if not list(group.glob("custom*/result.json")):
        train(f"dataset={match[1]}", f"model={match[2]}", "dataset.root=data")
    return str(min(group.glob("custom*/result.json")).parent)


def ensure_runs():
    """Two arms with two seeds each, which the examples in Python load."""
    if len(list(Path("outputs/digits-mlp").glob("*/result.json"))) < 4:
        train("-m", "norm=none,custom", "seed=0,1")


def train(*given):
    with pytest.MonkeyPatch.context() as patch:
        run_in_process("train.py", small(list(given)), patch, main)


def check_command(found):
    """Check that what a command names is there: settings, options, targets, extras."""
    if "python" in found[:2]:  # `srun python` too
        del found[: found.index("python")]
    program = Path(found[0]).name
    if program in ("python", "python3") and len(found) > 1:
        check_python(found[1:])
    elif program == "make":
        check_make(found[1:])
    elif program in ("uv", "pip"):
        check_install(found[1:])
    else:
        assert program in NOT_PROGRAMS_OF_OURS, program
        assert program == "source" or shutil.which(program) or in_environment(program)


def in_environment(program):
    return (Path(sys.executable).parent / program).exists()


def check_python(rest):
    if rest[0] == "-m":
        if rest[1] == "pytest":
            for word in rest[2:]:
                assert not word.startswith("tests/") or (ROOT / word).exists(), word
        elif rest[1] == "pip":
            check_install(rest[2:])
        else:
            assert rest[1] == "venv"
    elif rest[0] == "train.py":
        check_settings(rest[1:])
    elif rest[0] == "scripts/docs/screenshots.py":
        assert (ROOT / rest[0]).is_file()
    else:
        with contextlib.redirect_stderr(None):
            parser_of(rest[0]).parse_args(rest[1:])


def check_settings(rest):
    """Compose what the command would run, with the first value of every list."""
    parser = OverridesParser.create()
    given = [word for word in rest if not word.startswith("-")]
    overrides = []
    for word in given:
        key, _, value = word.replace("DATA", "data").partition("=")
        parsed = parser.parse_override(f"{key}={value}")
        if value == "glob(*)":
            value = next(iter(options(key)))
        elif parsed.is_sweep_override():
            value = next(iter(parsed.sweep_string_iterator()))
        overrides.append(f"{key}={value}")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    config = config.copy()
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    check(OmegaConf.to_container(config, resolve=True))


def check_make(rest):
    text = (ROOT / "Makefile").read_text()
    for word in rest:
        name, given, value = word.partition("=")
        if not given:
            assert re.search(rf"^{name}:", text, re.MULTILINE), name
        else:
            assert f"$({name})" in text or f"$(or $({name})" in text, name
            if name == "ARGS" and rest[0] == "run":
                check_settings(shlex.split(value))


def check_install(rest):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in rest:
        if extras := re.search(r"\[([\w,]+)\]$", word):
            for extra in extras[1].split(","):
                assert extra in project["optional-dependencies"], extra
    paths = [word for word in rest if word.endswith(".txt")]
    assert all((ROOT / path).is_file() for path in paths)
