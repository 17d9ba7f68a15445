"""A run reports to servers that the command line names, and to no other."""

import pytest

from normlab.config.servers import check_servers

KEY = "logger.x.tracking_uri"


def reporting_to(server):
    return {"logger": {"x": {"tracking_uri": server}}, "paths": {"outputs": "there"}}


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
            check_servers(config, words)
    check_servers(config, [f"{key}={value}"])
    check_servers(config, [f"++{key}={value}"])


def test_a_run_without_a_server_needs_no_word():
    check_servers({"logger": {"x": {"tracking_uri": None}, "csv": {}}}, [])
    check_servers({"logger": None, "trial": None}, [])


@pytest.mark.parametrize(
    "words", [[f"{KEY}=http://mine"], [f"{KEY}=http://evil", f"++{KEY}=http://mine"]]
)
def test_a_file_does_not_replace_the_server_that_was_typed(words):
    with pytest.raises(ValueError) as error:
        check_servers(reporting_to("http://evil"), words)
    assert str(error.value) == (
        "logger.x.tracking_uri must be http://mine, as the command line says, a file "
        "set it to http://evil: remove it from the file"
    )
    check_servers(reporting_to("http://mine"), words)


@pytest.mark.parametrize(
    ("word", "server"),
    [
        (f"{KEY}='http://my server'", "http://my server"),
        (f"{KEY}=http://a,http://b", "http://b"),
        (f"{KEY}='${{paths.outputs}}/mlruns'", "there/mlruns"),
        (f"{KEY}='${{oc.env:MY_SERVER}}'", "http://mine"),
    ],
)
def test_a_server_may_be_typed_in_every_way(monkeypatch, word, server):
    monkeypatch.setenv("MY_SERVER", "http://mine")
    check_servers(reporting_to(server), [word])
    with pytest.raises(ValueError, match=f"^{KEY} must be "):
        check_servers(reporting_to("http://evil"), [word])
