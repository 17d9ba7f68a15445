import pytest
from matplotlib.figure import Figure

from normlab.figure_files import check_figure_path, save_figure


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("a.png", b"\x89PNG"),
        ("a.PNG", b"\x89PNG"),
        ("a.pdf", b"%PDF"),
        ("a.b.svg", b"<?xml"),
    ],
)
def test_a_figure_is_written_as_its_ending_says(tmp_path, name, beginning):
    path = tmp_path / name
    check_figure_path(path)
    save_figure(Figure(figsize=(1, 1)), path, dpi=50)
    assert path.read_bytes().startswith(beginning)
    assert [path.name for path in tmp_path.iterdir()] == [name]


class HalfWritten:
    """A figure whose drawing ends in an error after some bytes."""

    def savefig(self, path, **options):
        path.write_bytes(b"half")
        raise OSError("no space left")


def test_a_figure_is_left_as_it_was_after_an_error(tmp_path):
    path = tmp_path / "norms.png"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="no space"):
        save_figure(HalfWritten(), path, dpi=50)
    assert path.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["norms.png"]
