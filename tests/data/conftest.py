import pytest


@pytest.fixture
def write(tmp_path):
    """write(text, name="table.csv") -> path of a file with this text."""

    def write_file(text, name="table.csv"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write_file
