import pytest
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from normlab.config.variables import named_variables


@pytest.fixture
def read(monkeypatch):
    """read(name, ...): what `${oc.env:name,...}` gives."""
    monkeypatch.setenv("SECRET", "12")
    monkeypatch.delenv("ABSENT", raising=False)

    def resolve(*arguments):
        config = OmegaConf.create({"a": f"${{oc.env:{','.join(arguments)}}}"})
        return config.a

    return resolve


@pytest.mark.parametrize("words", [[], ["seed=1", "a=SECRET"], ["a=${oc.env:SECRETS}"]])
def test_a_file_reads_no_variable_of_its_choice(read, words):
    with (
        named_variables(words),
        pytest.raises(InterpolationResolutionError) as error,
    ):
        read("SECRET")
    message = str(error.value).splitlines()[0]
    assert message.endswith(
        "the environment variable SECRET must be named on the command line, a file "
        "asks for it: add KEY='${oc.env:SECRET}'"
    )
    assert "12" not in message


@pytest.mark.parametrize("word", ["a=${oc.env:SECRET}", "a=x${oc.env:'SECRET',1}"])
def test_the_command_line_may_name_a_variable(read, word):
    with named_variables(["seed=1", word]):
        assert read("SECRET") == "12"
        with named_variables([]), pytest.raises(InterpolationResolutionError):
            read("SECRET")
        assert read("SECRET") == "12"


def test_elsewhere_variables_are_read_as_before(read):
    with named_variables([]):
        pass
    assert read("SECRET") == "12"
    assert read("ABSENT", "none") == "none"
    with pytest.raises(InterpolationResolutionError, match="'ABSENT' not found"):
        read("ABSENT")
