"""Check a configuration against the schema: what conf/ says of every key."""

from collections.abc import Iterable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from normlab.config.schema import (
    Key,
    defaults,
    general_keys,
    groups,
    has_option,
    keys_of,
    known_keys,
    look_up,
    read_option,
)
from normlab.config.servers import check_servers
from normlab.config.study_plan import check_study
from normlab.config.trust import check_targets, check_trust, refuse_interpolations
from normlab.config.types import rule_of
from normlab.metrics import METRICS, SCORES, refuse_unknown_monitor, refuse_unknown_stop
from normlab.spelling import key_hint

# Groups of which a run has one option each.
GROUPS = ("dataset", "model", "norm", "optimizer", "scheduler", "device")
# Groups of which a run has any number of options, each with a list as an example.
LISTS = {
    "logger": "[tensorboard,csv]",
    "callbacks": "[learning_rate_monitor,gradient_norm]",
}


def check(config: dict[str, Any]) -> None:
    """Refuse what no run can have: missing or unknown keys, and impossible values.

    Args:
        config: the resolved configuration.

    Raises:
        ValueError: names the key, what it must be and what it is.
    """
    refuse_interpolations(config)
    _check_structure(config)
    _check_names(config)
    check_values(config, general_keys())
    for group in GROUPS:
        choice = str(config["choices"][group])
        keys = keys_of(group, choice, config[group])
        check_values(config, keys)
    for group in LISTS:
        for choice in config.get(group) or {}:
            if has_option(group, choice):
                check_values(config, read_option(group, choice).keys)
    check_targets(config, config["trusted_packages"])


def check_composed(
    config: dict[str, Any], words: Sequence[str], composed: DictConfig
) -> None:
    """Refuse what a command must not run: see `check`, and trust and plan besides.

    Args:
        config: the resolved configuration of a run that is to train.
        words: the overrides of the command line, and those of a search.
        composed: the configuration with its interpolations.

    Raises:
        ValueError: names the key, what it must be and what it is.
    """
    check(config)
    check_trust(config, words)
    check_servers(config, words, composed)
    check_study(config)
    _check_metrics(config)


def _check_metrics(config: dict[str, Any]) -> None:
    """Refuse to monitor, or to stop at, what no run of the task has.

    A task of the user's own has other metrics, and the number of classes excludes some:
    `normlab.training.preparation.prepare` asks the task itself.
    """
    monitor = config["trainer"]["monitor"]
    kind = config["dataset"]["task"]
    if config["task"]["_target_"] or kind not in METRICS:
        return
    scores = SCORES if kind == "classification" else ()
    refuse_unknown_monitor(monitor, METRICS[kind], scores)
    refuse_unknown_stop(config["trainer"], METRICS[kind])


def check_values(config: dict[str, Any], keys: dict[str, Key]) -> None:
    """Refuse values that are not of the type of their key; keys may be absent.

    Args:
        config: the resolved configuration.
        keys: the keys with their types, by dotted name.

    Raises:
        ValueError: names the key, what it must be and what it is.
    """
    for name, key in keys.items():
        present, value = look_up(config, name)
        if not present or not key.type:
            continue
        rule = key.rule
        if not rule.holds(value):
            raise ValueError(
                f"{name} must be {rule.requirement}, got {_in_yaml(value)}"
            )


def check_hydra_options(hydra: DictConfig) -> None:
    """Refuse options of launcher and sweeper that are not of the type of their key.

    Args:
        hydra: Hydra's own node of a configuration.

    Raises:
        ValueError: names the key, what it must be and what it is.
    """
    for name in ("launcher", "sweeper"):
        group = f"hydra/{name}"
        choice = str(hydra.runtime.choices[group])
        if not has_option(group, choice):
            continue
        option = read_option(group, choice)
        node = OmegaConf.to_container(hydra[name], resolve=True)
        check_values({"hydra": {name: node}}, option.keys)


def _check_structure(config: dict[str, Any]) -> None:
    """Refuse a configuration from which groups or keys were taken away."""
    _check_groups(config)
    for key, default in defaults().items():
        if not isinstance(default, dict):
            continue
        node = config.get(key)
        if not isinstance(node, dict):
            names = ", ".join(default)
            raise ValueError(f"{key} must hold {names}, got {_shown(config, key)}")
        _check_keys(f"{key}.", default, node)
    _check_keys("", defaults(), config)
    _check_choices(config["choices"])
    _check_mappings(config)


def _check_groups(config: dict[str, Any]) -> None:
    """Refuse a group that is no option, or that lacks keys that every option has."""
    for name in GROUPS:
        node = config.get(name)
        if not isinstance(node, dict):
            raise ValueError(
                f"{name} must be an option of conf/{name}, as in {name}=NAME, "
                f"got {_shown(config, name)}"
            )
        required = groups()[name].required
        keys = ", ".join(required)
        needed = f"; the file of an option of {name} must have {keys}"
        _check_keys(f"{name}.", required, node, needed)


def _check_choices(choices: dict[str, Any]) -> None:
    """Refuse a group without a choice, or with several."""
    _check_keys("choices.", GROUPS, choices)
    for name in GROUPS:
        # Of a list of options, which Hydra would merge, there is no name.
        if not isinstance(choices[name], str):
            raise ValueError(
                f"{name} must be one option, as in {name}=NAME; "
                f"-m {name}=NAME,NAME runs each of several"
            )


def _check_mappings(config: dict[str, Any]) -> None:
    """Refuse other values where a key of a group holds keys and values."""
    mapping = rule_of("mapping")
    for name in ("augment", "load"):
        value = config["dataset"][name]
        if not mapping.holds(value):
            raise ValueError(
                f"dataset.{name} must be {mapping.requirement}, got {_in_yaml(value)}"
            )
    for group, example in LISTS.items():
        picked = config.get(group)
        if picked is None:
            picked = {}
        are_options = mapping.holds(picked) and all(map(mapping.holds, picked.values()))
        if not are_options:
            raise ValueError(
                f"{group} must be a list of options, such as {example}, got {picked!r}"
            )
    _check_study(config)


def _check_study(config: dict[str, Any]) -> None:
    """Refuse what is no plan, and the trial of a study where there is none."""
    plan = config.get("study")
    if plan is None:
        return
    if not isinstance(plan, dict):
        raise ValueError(
            f"study must be an option of conf/study, as in study=NAME, got {plan!r}"
        )
    tries = plan.get("try", False)
    if not isinstance(tries, bool):
        raise ValueError(f"study.try must be true or false, got {tries!r}")
    if tries and config["choices"].get("study") is None:
        raise ValueError("study.try=true must come with a study: add study=NAME")


def is_trial(config: dict[str, Any]) -> bool:
    """Whether a run is part of a study that is only tried (`study.try=true`)."""
    plan = config.get("study")
    return isinstance(plan, dict) and plan.get("try") is True


def _check_keys(
    prefix: str, names: Iterable[str], node: dict[str, Any], needed: str = ""
) -> None:
    for name in names:
        if name not in node:
            raise ValueError(
                f"the configuration must have the key {prefix}{name}{needed}"
            )


def _shown(config: dict[str, Any], key: str) -> str:
    if key not in config:
        return "nothing"
    return _in_yaml(config[key])


def _in_yaml(value: Any) -> str:
    """A value as the command line spells it; texts in quotes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration, completed with keys that its version did not have.

    Args:
        config: the resolved configuration of a run that an earlier version may have
            stored.
    """
    completed = dict(config)
    for key, default in defaults().items():
        stored = config.get(key)
        if key == "choices":  # of a group that came later, nothing was picked
            default = dict.fromkeys(default)
        if isinstance(default, dict) and isinstance(stored, dict):
            completed[key] = default | stored
        elif key != "choices":
            completed.setdefault(key, default)
    return completed


def _check_names(config: dict[str, Any]) -> None:
    """Refuse unknown keys.

    With `+`, Hydra adds any key. A misspelt one would change nothing although it looks
    like a setting. What a class takes that a `_target_` names is checked when it is
    looked up, in `targets.py`.
    """
    top_level = [*defaults(), *groups()]
    _refuse_unknown("", config, top_level)
    for key, default in defaults().items():
        is_own_class = isinstance(default, dict) and config[key].get("_target_")
        if isinstance(default, dict) and not is_own_class:
            _refuse_unknown(f"{key}.", config[key], default)

    dataset = config["dataset"]
    device_keys = _names_below("device")
    augmentations = _names_below("dataset", "augment.")
    _refuse_unknown("device.", config["device"], device_keys)
    _refuse_unknown("dataset.augment.", dataset["augment"], augmentations)
    # Data sets of one's own may have keys of their own, which their loader gets.
    choice = str(config["choices"]["dataset"])
    if has_option("dataset", choice):
        known = _names_below("dataset", choice=choice)
        required = groups()["dataset"].required
        known += required
        _refuse_unknown("dataset.", dataset, known)


def _names_below(group: str, prefix: str = "", choice: str = "") -> list[str]:
    """The names of the keys of an option, such as `lr`.

    Args:
        group: such as `optimizer`.
        prefix: of the keys within the group; names are without it.
        choice: the option; by default the one that is picked without a word.
    """
    if not choice:
        choice = groups()[group].default
    option = read_option(group, choice)
    start = f"{group}.{prefix}"
    names = []
    for key in option.keys:
        name = key.removeprefix(start)
        if key.startswith(start) and "." not in name:
            names.append(name)
    return names


def _refuse_unknown(prefix: str, node: Any, known: Iterable[str]) -> None:
    if not isinstance(node, dict):
        return
    known = list(known)
    for key in node:
        if key in known:
            continue
        full_key = f"{prefix}{key}"
        candidates = [f"{prefix}{name}" for name in known]
        candidates += known_keys()
        hint = key_hint(full_key, candidates)
        raise ValueError(f"the configuration has no key {full_key!r}{hint}")
