"""Options of a launcher that run code: typed, or of the launcher that was picked."""

import pytest

from normlab.config.launcher_options import check_launcher
from normlab.config.schema import options

SLURM = "hydra_plugins.normlab_submitit_launcher.SlurmLauncher"
LOCAL = "hydra_plugins.normlab_submitit_launcher.SubmititLauncher"
BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@pytest.mark.parametrize("name", sorted(options("hydra/launcher")))
def test_the_options_of_conf_may_stand_in_any_file(name):
    option = options("hydra/launcher")[name]
    launcher = {"_target_": option.target}
    for key in option.keys:
        launcher[key.split(".")[2]] = None
    check_launcher(launcher, [], [])
    check_launcher({"_target_": BASIC}, [], [])


def test_options_that_are_handed_on_may_be_empty():
    empty = {"setup": [], "additional_parameters": {}}
    check_launcher({"_target_": SLURM, **empty}, [], [])


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [
        (SLURM, "setup", ["touch x"]),
        (LOCAL, "setup", ["touch x"]),
        (SLURM, "additional_parameters", {"output": "~/.bashrc"}),
        (SLURM, "output", "~/.bashrc"),
        (BASIC, "partition", "gpu"),
    ],
)
def test_what_runs_code_or_names_files_must_be_typed(target, name, value):
    launcher = {"_target_": target, name: value}
    for words in ([], ["hydra/launcher=submitit_slurm"], [f"launcher.{name}=x"]):
        with pytest.raises(ValueError) as error:
            check_launcher(launcher, words, [])
        inner = f"{name}.output" if isinstance(value, dict) else name
        assert str(error.value) == (
            f"hydra.launcher.{inner} must be given on the command line, or by the "
            f"launcher's own file if hydra/launcher=NAME picks it there; another file "
            f"set it: add ++hydra.launcher.{inner}=VALUE"
        )
    typed = "{output:x}" if isinstance(value, dict) else "[x]"
    check_launcher(launcher, [f"+hydra.launcher.{name}={typed}"], [])
    check_launcher(launcher, [f"hydra.launcher={{{name}: {typed}}}"], [])


WORDS = [
    "hydra.launcher.additional_parameters={begin: now}",
    "++hydra.launcher.additional_parameters.mail-user=me",
]


def test_keys_and_values_must_all_be_typed():
    typed = {"begin": "now", "mail-user": "me"}
    launcher = {"_target_": SLURM, "additional_parameters": typed}
    check_launcher(launcher, WORDS, [])
    for word in WORDS:
        with pytest.raises(ValueError, match=r"parameters\.[\w-]+ must be given"):
            check_launcher(launcher, [word], [])
    launcher["additional_parameters"] = {**typed, "output": "~/.bashrc"}
    with pytest.raises(ValueError, match=r"parameters\.output must be given"):
        check_launcher(launcher, WORDS, [])
    advice = "++hydra.launcher.additional_parameters.output='~/.bashrc'"
    check_launcher(launcher, [*WORDS, advice], [])


@pytest.fixture
def folder(tmp_path):
    """A folder of configurations with launchers of its own."""
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    files = {
        "lab": "setup: [module load cuda]\nadditional_parameters: {begin: now}\n",
        "lab.v2": "defaults: [lab]\n",
        "other": "setup: ['${group}']\n",
        "submitit_slurm": "setup: [touch x]\n",
    }
    for name, text in files.items():
        (tmp_path / "hydra" / "launcher" / f"{name}.yaml").write_text(text)
    return tmp_path


def test_the_file_of_the_launcher_that_is_picked_may_set_what_it_likes(folder):
    launcher = {
        "_target_": SLURM,
        "setup": ["module load cuda"],
        "additional_parameters": {"begin": "now", "mail-user": "me"},
    }
    words = ["hydra/launcher=lab", WORDS[1]]
    check_launcher(launcher, words, [folder])
    for missing in words:
        others = [word for word in words if word != missing]
        with pytest.raises(ValueError, match="must be given on the command line"):
            check_launcher(launcher, others, [folder])
    with pytest.raises(ValueError, match="launcher.setup must be given on the command"):
        check_launcher(launcher, words, [])


@pytest.mark.parametrize(
    ("name", "setup"),
    [
        ("lab", ["touch x"]),  # of another file
        ("lab", ["module load cuda", "touch x"]),
        ("submitit_slurm", ["touch x"]),  # conf/ has another file with this name
        ("nowhere", ["touch x"]),
    ],
)
def test_other_files_set_nothing_for_the_launcher_that_is_picked(folder, name, setup):
    launcher = {"_target_": SLURM, "setup": setup}
    with pytest.raises(ValueError, match="launcher.setup must be given on the command"):
        check_launcher(launcher, [f"hydra/launcher={name}"], [folder])


def test_the_picked_file_is_read_as_hydra_reads_it(folder):
    text = "additional_parameters: {begin: 2026-01-01, x: 1e3}\n"
    (folder / "hydra" / "launcher" / "dates.yaml").write_text(text)
    values = {"begin": "2026-01-01", "x": 1000.0}
    launcher = {"_target_": SLURM, "additional_parameters": values}
    check_launcher(launcher, ["hydra/launcher=dates"], [folder])


@pytest.mark.parametrize(
    ("defaults", "begin"),
    [
        ("[lab, _self_]", "later"),
        ("[submitit_slurm, lab@_here_]", "later"),
        ("[/hydra/launcher/lab@_here_]", "later"),
        ("[lab.yaml]", "later"),
        ("[lab.v2]", "later"),
        ("[_self_, lab, {optional x: y}, x/y, x@y, '${x}']", "now"),
    ],
)
def test_the_picked_file_inherits_from_its_group(folder, defaults, begin):
    text = f"defaults: {defaults}\nadditional_parameters: {{begin: later, x: 1}}\n"
    (folder / "hydra" / "launcher" / "gpu.yaml").write_text(text)
    launcher = {
        "_target_": SLURM,
        "setup": ["module load cuda"],
        "additional_parameters": {"begin": begin, "x": 1},
    }
    check_launcher(launcher, ["hydra/launcher=gpu"], [folder])
    for changed in ({"setup": ["touch x"]}, {"additional_parameters": {"begin": "x"}}):
        with pytest.raises(ValueError, match="must be given on the command line"):
            check_launcher(launcher | changed, ["hydra/launcher=gpu"], [folder])


def test_the_picked_file_inherits_nothing_from_another_folder(folder, tmp_path):
    own = tmp_path / "own" / "hydra" / "launcher"
    own.mkdir(parents=True)
    (own / "gpu.yaml").write_text("defaults: [submitit_slurm, lab]\n")
    folders = [folder, tmp_path / "own"]
    launcher = {"_target_": SLURM, "setup": ["module load cuda"]}
    with pytest.raises(ValueError, match="launcher.setup must be given on the command"):
        check_launcher(launcher, ["hydra/launcher=gpu"], folders)
    (own / "lab.yaml").write_text("setup: [module load cuda]\n")
    check_launcher(launcher, ["hydra/launcher=gpu"], folders)


def test_a_file_that_hydra_merges_below_the_launcher_is_not_inherited(folder):
    text = "defaults: [/hydra/launcher/lab]\n"
    (folder / "hydra" / "launcher" / "gpu.yaml").write_text(text)
    launcher = {"_target_": SLURM, "setup": ["module load cuda"]}
    with pytest.raises(ValueError, match="launcher.setup must be given on the command"):
        check_launcher(launcher, ["hydra/launcher=gpu"], [folder])


def test_interpolations_in_the_picked_file_are_refused_in_their_own_words(folder):
    launcher = {"_target_": SLURM, "setup": ["touch x"]}
    with pytest.raises(ValueError) as error:
        check_launcher(launcher, ["hydra/launcher=other"], [folder])
    assert str(error.value) == (
        "hydra.launcher.setup must have no interpolation in the file that "
        "hydra/launcher=NAME picks, since other files may set what it stands for, or "
        "another file set it, got ['${group}'] there: add ++hydra.launcher.setup=VALUE "
        "to the command line"
    )
    text = "additional_parameters: {begin: '${x}', mail-user: '${y}'}\n"
    (folder / "hydra" / "launcher" / "other.yaml").write_text(text)
    launcher = {"_target_": SLURM, "additional_parameters": {"begin": "now"}}
    with pytest.raises(ValueError) as error:
        check_launcher(launcher, ["hydra/launcher=other"], [folder])
    key = "hydra.launcher.additional_parameters.begin"
    assert str(error.value).startswith(f"{key} must have no interpolation")
    assert str(error.value).endswith(
        f"${{x}} there: add ++{key}=VALUE to the command line"
    )
