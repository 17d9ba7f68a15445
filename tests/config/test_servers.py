"""A run reports to servers that the command line names, and to no other."""

import pytest
from omegaconf import OmegaConf

from normlab.config.servers import check_servers

KEY = "logger.x.tracking_uri"


def reporting_to(server):
    return {"logger": {"x": {"tracking_uri": server}}, "paths": {"outputs": "there"}}


def check(config, words, composed=None):
    check_servers(config, words, OmegaConf.create(composed or config))


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        (reporting_to("http://a"), KEY, "http://a"),
        ({"trial": {"storage": "sqlite:///a"}}, "trial", "{storage:x}"),
    ],
)
def test_a_file_names_no_server_of_a_run(config, key, value):
    for words in ([], ["logger=[x]"], [f"other.{key}={value}"], [key]):
        with pytest.raises(ValueError, match=f"^{key} must be given on the command"):
            check(config, words)
    check(config, [f"{key}={value}"])
    check(config, [f"++{key}={value}"])


def test_a_run_without_a_server_needs_no_word():
    loggers = {"x": {"tracking_uri": None}, "csv": {}}
    for config in ({"logger": loggers}, {"logger": None, "trial": None}):
        check(config, [])


@pytest.mark.parametrize(
    "words", [[f"{KEY}=http://mine"], [f"{KEY}=http://evil", f"++{KEY}=http://mine"]]
)
def test_a_file_does_not_replace_the_server_that_was_typed(words):
    with pytest.raises(ValueError) as error:
        check(reporting_to("http://evil"), words)
    assert str(error.value) == (
        "logger.x.tracking_uri must be http://mine, as the command line says, a file "
        "set it to http://evil: remove it from the file"
    )
    check(reporting_to("http://mine"), words)


@pytest.mark.parametrize(
    ("word", "server"),
    [
        (f"{KEY}='http://my server'", "http://my server"),
        (f"{KEY}=http://a,http://b", "http://b"),
    ],
)
def test_a_server_may_be_typed_in_every_way(word, server):
    check(reporting_to(server), [word])
    with pytest.raises(ValueError, match=f"^{KEY} must be "):
        check(reporting_to("http://evil"), [word])


@pytest.mark.parametrize(
    "text",
    [
        "${paths.outputs}/mlruns",
        "file:${now:%H-%M-%S-%f}",
        "file:${hydra:runtime.choices.norm}",
    ],
)
def test_a_typed_interpolation_is_what_the_run_resolves_it_to(text):
    word = f"{KEY}='{text}'"
    resolved = reporting_to("file:as the run has it")
    check(resolved, [word], reporting_to(text))
    check(resolved, [f"{KEY}=a,'{text}'"], reporting_to(text))
    for written in ("${oc.env:HOME}", "file:as the run has it", None):
        with pytest.raises(ValueError, match=f"^{KEY} must be "):
            check(resolved, [word], reporting_to(written))
    with pytest.raises(ValueError, match=f"^{KEY} must be "):
        check(resolved, [word], {"logger": "${other}", "other": text})
