"""What a file may ask of Hydra itself."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from normlab.config.hydra_node import (
    PLUGINS,
    check_hydra,
    check_overrides,
    composing,
    config_dirs,
    launcher_dirs,
    typed_words,
    words_of_search,
)
from normlab.config.identity import configuration_directory
from normlab.config.schema import options


@pytest.fixture
def with_hydra(monkeypatch):
    """with_hydra(node): the composed default, with a node merged into `hydra`."""

    def compose_with(node):
        with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
            words = ["hydra/launcher=ray"]
            config = compose("config", words, return_hydra_config=True)
        OmegaConf.set_readonly(config.hydra, False)
        OmegaConf.set_struct(config, False)
        config.hydra = OmegaConf.merge(config.hydra, OmegaConf.create(node))
        monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
        return config

    return compose_with


def test_hydra_as_it_is_shipped_is_accepted(with_hydra):
    check_hydra(with_hydra({}), [])


CORE = "hydra._internal.core_plugins"
DECODED = '${oc.decode:"{_target_:joblib.load,filename:x}"}'
CREATED = "${oc.create:{_target_:joblib.load,filename:x}}"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"callbacks": {"x": {"_target_": "joblib.load"}}}, "hydra.callbacks must be"),
        ({"callbacks": {"x": DECODED}}, "hydra.callbacks must be empty"),
        ({"callbacks": {"x": CREATED}}, "hydra.callbacks must be empty"),
        (
            {"sweeper": {"params": {"x": {"_target_": "joblib.load"}}}},
            "hydra.sweeper.params.x._target_ must be left out: nothing is called",
        ),
        (
            {"sweeper": {"params": {"x": [CREATED]}}},
            r"hydra.sweeper.params.x\[0\]._target_ must be left out",
        ),
        (
            {"launcher": {"init": {"x": DECODED}}},
            "hydra.launcher.init.x._target_ must be left out",
        ),
        (
            {"launcher": {"init": {"x": "\\" + CREATED}}},
            r"hydra.launcher.init.x must not contain '\$\{'",
        ),
        (
            {"job_logging": {"handlers": {"x": {"()": "pandas.read_pickle"}}}},
            "hydra/job_logging must be one of none, disabled, stdout",
        ),
        (
            {"job_logging": {"handlers": {"x": {"class": "logging.FileHandler"}}}},
            "hydra/job_logging must be one of none, disabled, stdout",
        ),
        (
            {"hydra_logging": {"handlers": {"x": {"stream": "ext://module.x"}}}},
            "hydra/hydra_logging must be one of none, disabled, stdout",
        ),
        (
            {"hydra_logging": {"formatters": {"x": {"()": "logging.os.mkdir"}}}},
            "hydra/hydra_logging must be one of none, disabled, stdout",
        ),
        ({"job": {"env_set": {"LD_PRELOAD": "x.so"}}}, "hydra.job.env_set must be"),
        ({"job": {"env_set": "${oc.create:{}}"}}, "hydra.job.env_set must be"),
        (
            {"launcher": {"setup": ["touch x"]}},
            "hydra.launcher.setup must be given on the command line",
        ),
        ({"output_subdir": "x"}, "hydra.output_subdir must be empty, got x"),
        ({"job": {"chdir": True}}, "hydra.job.chdir must be given on the command"),
        ({"run": {"dir": "x"}}, "hydra.run.dir must be given on the command line"),
        ({"run": {"dir": "${oc.decode:.}"}}, "hydra.run.dir must be given"),
        ({"sweep": {"dir": "x"}}, "hydra.sweep.dir must be given"),
        ({"sweep": {"subdir": "x"}}, "hydra.sweep.subdir must be given"),
        (
            {"launcher": {"init": {"address": "ray://evil:1"}}},
            "hydra.launcher.init.address must be given on the command line",
        ),
        (
            {"sweeper": {"storage": "sqlite:///x.db"}},
            "hydra.sweeper.storage must be given on the command line, a file set it: "
            "add hydra.sweeper.storage=VALUE",
        ),
        (
            {"sweeper": {"params": {"++trial.storage": "x"}}},
            r"hydra.sweeper.params must not set \+\+trial.storage",
        ),
        (
            {"launcher": {"_target_": "hydra_plugins.normlab_queue_launcher.os.mkdir"}},
            "hydra.launcher._target_ must be the class of an option of conf/hydra/lau",
        ),
        (
            {"sweeper": {"_target_": f"{CORE}.basic_sweeper.BasicSweeper"}},
            "hydra.sweeper._target_ must be the class of an option of conf/hydra/swee",
        ),
        (
            {"launcher": {"_target_": PLUGINS["sweeper"][0]}},
            "hydra.launcher._target_ must be the class of an option of conf/hydra/lau",
        ),
        (
            {"launcher": {"x": {"_target_": PLUGINS["launcher"][0]}}},
            "hydra.launcher.x._target_ must be left out",
        ),
        (
            {"sweeper": {"sampler": {"_target_": "optuna.samplers.nsgaii.os.mkdir"}}},
            "hydra.sweeper.sampler._target_ must be a class of optuna.samplers or",
        ),
    ],
)
def test_hydra_calls_and_writes_nothing_for_a_file(with_hydra, node, message):
    with pytest.raises(ValueError, match=message):
        check_hydra(with_hydra(node), [])


@pytest.mark.parametrize(
    ("node", "word"),
    [
        ({"job": {"chdir": True}}, "hydra.job.chdir=true"),
        ({"run": {"dir": "x"}}, "hydra.run.dir=x"),
        (
            {"launcher": {"init": {"address": "auto"}}},
            "hydra.launcher.init.address=auto",
        ),
        ({"sweeper": {"storage": "sqlite:///x.db"}}, "++hydra.sweeper.storage=x"),
        ({"launcher": {"setup": ["date"]}}, "+hydra.launcher.setup=[date]"),
    ],
)
def test_the_command_line_may_say_what_a_file_may_not(with_hydra, node, word):
    config = with_hydra(node)
    with pytest.raises(ValueError, match="must be given on the command line"):
        check_hydra(config, ["seed=1", f"x{word}"])
    check_hydra(config, ["seed=1", word])


def test_variables_are_named_and_not_shown(with_hydra):
    node = {"job": {"env_set": {"MY_TOKEN": "secret", "OTHER": "secret"}}}
    with pytest.raises(ValueError) as error:
        check_hydra(with_hydra(node), [])
    assert str(error.value) == "hydra.job.env_set must be empty, got MY_TOKEN, OTHER"


@pytest.mark.parametrize(
    ("words", "who"),
    [
        ([], "a file"),
        (["hydra.job.env_copy=[OTHER]", "group=MY_TOKEN"], "a file"),
        (["++hydra.job.env_copy=[OTHER,MY_TOKEN]"], "the command line"),
        (["hydra.job={env_copy: [MY_TOKEN]}"], "the command line"),
        (["hydra.job={env_copy: MY_TOKEN}"], "a file"),
        (["hydra.job={env_copy: null}"], "a file"),
    ],
)
def test_a_variable_that_hydra_does_not_find_is_named(words, who):
    with pytest.raises(ValueError) as error, composing(words):
        {}["MY_TOKEN"]
    assert str(error.value) == (
        f"hydra.job.env_copy must be empty, {who} names 'MY_TOKEN' there"
    )
    with pytest.raises(ConfigKeyError, match="of OmegaConf"), composing(words):
        raise ConfigKeyError("of OmegaConf")


def test_the_folders_of_a_command_and_of_a_call_are_known(tmp_path, monkeypatch):
    package = tmp_path / "company_b" / "conf"
    package.mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    sources = [
        ("main", "file", "conf"),
        ("command-line", "file", "/a"),
        ("hydra.searchpath in command-line", "pkg", "company_b.conf"),
        ("hydra.searchpath in command-line", "file", "/b"),
        ("hydra.searchpath in command-line", "pkg", "company_b.absent"),
        ("hydra.searchpath in command-line", "pkg", "absent_company.conf"),
        ("hydra.searchpath in main", "pkg", "company_b"),
        ("hydra.searchpath in main", "file", "/d"),
        ("schema", "structured", ""),
    ]
    nodes = []
    for provider, schema, path in sources:
        nodes.append({"provider": provider, "schema": schema, "path": path})
    hydra = OmegaConf.create({"runtime": {"config_sources": nodes}})
    assert config_dirs(hydra) == [Path("/a"), Path("/b")]
    assert launcher_dirs(hydra) == [Path("/a"), package, Path("/b")]


def test_the_files_of_a_search_need_no_word(with_hydra):
    check_hydra(with_hydra({"sweeper": {"storage": "sqlite"}}), [])


def test_a_sampler_and_a_pruner_are_classes_of_optuna(with_hydra):
    inner = {"_target_": "optuna.pruners.MedianPruner"}
    pruner = {"_target_": "optuna.pruners.PatientPruner", "wrapped_pruner": inner}
    sampler = {"_target_": "optuna.samplers.NSGAIISampler"}
    check_hydra(with_hydra({"sweeper": {"sampler": sampler, "pruner": pruner}}), [])


@pytest.mark.parametrize("name", ["launcher", "sweeper"])
def test_every_shipped_launcher_and_sweeper_is_allowed(name):
    shipped = {option.target for option in options(f"hydra/{name}").values()}
    assert shipped - {""} <= set(PLUGINS[name])


FORGED = [
    {"task": ["trusted_packages=[evil]"]},
    {"hydra": ["hydra.run.dir=x"]},
    {"task": "${oc.create:['seed=1']}"},
    {"task": ["${oc.decode:'seed=1'}"]},
]


@pytest.mark.parametrize("record", FORGED)
def test_a_file_does_not_write_what_was_typed(with_hydra, record):
    config = with_hydra({"overrides": record})
    (kind,) = record
    with pytest.raises(ValueError, match=f"^hydra.overrides.{kind} must be left to"):
        check_overrides(config, ["hydra/launcher=ray", "seed=1"])


def test_what_hydra_has_recorded_are_the_words(with_hydra):
    config = with_hydra({"overrides": {"task": ["a=${seed}"]}})
    check_overrides(config, ["a=${seed}", "hydra/launcher=ray"])
    config = with_hydra({})
    check_overrides(config, ["hydra/launcher=ray"])
    assert typed_words(config) == ["hydra/launcher=ray"]


def test_a_search_adds_the_trial_of_a_run():
    words = ["seed=1", "+trial.x=1", "trial={number:3}"]
    assert words_of_search(words) == ["trial={number:3}"]
