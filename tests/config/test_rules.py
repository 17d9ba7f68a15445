import pytest
from omegaconf import OmegaConf

from normlab.config.rules import GROUPS, check, check_composed, with_defaults


@pytest.fixture
def plain(compose):
    return lambda *overrides: OmegaConf.to_container(compose(*overrides), resolve=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed must be a whole number of at least 0, got -1"),
        ("seed=true", "seed must be a whole number of at least 0, got true"),
        (
            "dataset.batch_size=0",
            "dataset.batch_size must be a whole number of at least 1, got 0",
        ),
        ("optimizer.lr=-0.1", "optimizer.lr must be a number above 0, got -0.1"),
        ("optimizer.lr=fast", "optimizer.lr must be a number above 0, got 'fast'"),
        ("optimizer.lr=.nan", "optimizer.lr must be a number above 0"),
        (
            "dataset.validation=1.5",
            "dataset.validation must be a number between 0 and 1, got 1.5",
        ),
        (
            "dataset.task=clasification",
            "dataset.task must be classification or regression, got 'clasification'",
        ),
        (
            "trainer.max_epochs=2.5",
            "trainer.max_epochs must be a whole number of at least 1, got 2.5",
        ),
        (
            "device.threads=none",
            "device.threads must be auto or a whole number of at least 1, got 'none'",
        ),
        (
            "norm.momentum=abc",
            "norm.momentum must be null or a number from 0 to 1, got 'abc'",
        ),
        ("norm.eps=-1", "norm.eps must be a number of at least 0, got -1"),
        ("retry=always", "retry must be null or failed, got 'always'"),
        (
            "model._target_=os.system",
            "_target_ 'os.system' is not in a trusted package",
        ),
        (
            "optimizer._target_=torch.hub.load",
            "_target_ 'torch.hub.load' is not in a trusted package",
        ),
    ],
)
def test_impossible_values_are_refused_by_name(plain, override, message):
    with pytest.raises(ValueError) as error:
        check(plain(override))
    assert message in str(error.value)


def test_the_default_passes(plain):
    check(plain())


def test_an_unknown_key_is_refused_with_the_near_one(plain):
    with pytest.raises(ValueError, match="no key 'sead', did you mean 'seed'"):
        check(plain() | {"sead": 1})


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("left", ["nothing", "null", "text"])
def test_a_group_that_was_taken_away_is_named(plain, group, left):
    config = plain()
    if left == "nothing":
        del config[group]
    else:
        config[group] = None if left == "null" else "x"
    with pytest.raises(ValueError, match=f"^{group} must be an option of conf/{group}"):
        check(config)


KEYS = [
    *("seed", "paths", "task", "trainer", "statistics", "checkpoint", "group"),
    *("rerun", "retry", "progress", "dry_run", "profile", "trial"),
    *("reparametrize", "cache_features", "trusted_packages"),
    *("paths.outputs", "task.loss", "trainer.patience", "trainer.max_epochs"),
    *("optimizer.weight_decay", "optimizer._target_", "scheduler.interval"),
    *("device.threads", "dataset.validation", "dataset.load", "model._target_"),
]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_was_taken_away_is_named(plain, key):
    config = plain()
    *parents, last = key.split(".")
    node = config
    for name in parents:
        node = node[name]
    del node[last]
    with pytest.raises(ValueError, match=rf"\b{key}\b"):
        check(config)


@pytest.mark.parametrize(
    "override",
    [
        *("paths.outputs=null", "task=null", "trusted_packages=null", "paths=x"),
        *("statistics=null", "checkpoint=null", "checkpoint.every_seconds=x"),
        *("trainer.monitor=3", "scheduler.interval=batch"),
        *(
            "device.deterministic=1",
            "dataset.augment=null",
            "dataset.load=null",
            "statistics.histograms=no_",
            "group=null",
        ),
    ],
)
def test_values_of_another_type_are_refused_by_name(plain, override):
    key = override.partition("=")[0]
    with pytest.raises(ValueError, match=rf"^{key} must "):
        check(plain(override))


def test_a_stored_run_gets_the_keys_that_came_later(plain):
    config = plain("trainer.max_epochs=3")
    del config["profile"], config["trainer"]["gradient_clip"]
    completed = with_defaults(config)
    check(completed)
    assert completed["profile"] is False
    assert completed["trainer"]["gradient_clip"] is None
    assert completed["trainer"]["max_epochs"] == 3
    assert "profile" not in config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+task.label_smothing=0.1", "no key 'task.label_smothing'"),
        ("+trainer.max_epoch=3", "did you mean 'trainer.max_epochs'"),
        ("+trainer.accumulate_grad_batches=4", "no key 'trainer.accumulate_grad_"),
        ("+statistics.histogram=1", "did you mean 'statistics.histograms'"),
        ("+checkpoint.every_second=1", "did you mean 'checkpoint.every_seconds'"),
        ("+paths.output=x", "did you mean 'paths.outputs'"),
        ("+device.thread=1", "did you mean 'device.threads'"),
        ("+dataset.bach_size=1", "did you mean 'dataset.batch_size'"),
        ("+dataset.augment.flp=true", "did you mean 'dataset.augment.flip'"),
    ],
)
def test_a_key_that_nothing_reads_is_refused_at_any_level(plain, override, message):
    with pytest.raises(ValueError, match=message):
        check(plain(override))


def test_a_data_set_of_ones_own_is_told_what_it_must_have(plain):
    config = plain()
    config["choices"]["dataset"] = "mine"
    del config["dataset"]["image_size"], config["dataset"]["name"]
    with pytest.raises(
        ValueError,
        match="must have the key dataset.image_size; the file of an option of dataset "
        "must have task, shape, num_classes, image_size, batch_size, validation, split,"
        " normalize, augment, load$",
    ):
        check(config)


def test_a_data_set_of_ones_own_may_have_keys_of_its_own(plain):
    config = plain()
    config["choices"]["dataset"] = "mine"
    config["dataset"]["sensor"] = 3
    check(config)


def test_a_list_of_options_is_refused(plain):
    settings = plain()
    settings["choices"]["norm"] = None  # as Hydra has it for norm=[none,custom]
    with pytest.raises(ValueError, match="norm must be one option, .* -m norm=NAME,NA"):
        check(settings)


@pytest.mark.parametrize(
    ("key", "meant"),
    [("epochs", "trainer.max_epochs"), ("lr", "optimizer.lr"), ("gpu", "device=cuda")],
)
def test_keys_of_other_programs_get_a_hint(plain, key, meant):
    with pytest.raises(ValueError, match=f"no key {key!r}, did you mean {meant!r}"):
        check(plain() | {key: 1})


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "test/accuracy"),
        ([], "val/rmse"),
        (["dataset=diabetes", "model=tabular"], "val/auroc"),
    ],
)
def test_metrics_that_no_run_of_the_task_has_are_not_monitored(plain, words, name):
    config = plain(*words, f"trainer.monitor={name}")
    with pytest.raises(ValueError, match="^trainer.monitor must be null or one of val"):
        check_composed(config, [], OmegaConf.create(config))
    config["trainer"]["monitor"] = "val/loss"
    check_composed(config, [], OmegaConf.create(config))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("val/accuracy", "must be METRIC=VALUE, such as val/accuracy=0.97, got 'val/"),
        ("val/accuracy=nan", "must be METRIC=VALUE, such as val/accuracy=0.97, got"),
        ("val/f1=0.9", "must have one of the metrics val/accuracy, val/loss, train/"),
        ("test/loss=1", ".*, train/loss, got 'test/loss'; trainer.test_every_epoch="),
    ],
)
def test_a_run_stops_at_metrics_of_its_epochs_only(plain, value, message):
    config = plain()
    config["trainer"]["stop_at"] = value
    with pytest.raises(ValueError, match=f"^trainer.stop_at {message}"):
        check_composed(config, [], OmegaConf.create(config))
    config["trainer"] |= {"test_every_epoch": True, "stop_at": "test/loss=1"}
    check_composed(config, [], OmegaConf.create(config))


def test_a_task_of_the_users_own_may_monitor_a_metric_of_its_own(plain):
    words = ["task._target_=torch.nn.Identity", "trainer.monitor=val/iou"]
    config = plain(*words)
    check_composed(config, [], OmegaConf.create(config))
