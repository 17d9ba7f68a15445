"""Arrays on disk: complete or written again, for all who may read the folder."""

import os
import stat

import numpy as np
import pytest

from normlab.data.array_cache import cached_array


def cached(path, shape=(1000, 4), dtype=np.float32, value=7):
    return cached_array(
        path, shape, dtype, lambda array: array.fill(value), "or do without"
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:9],
        lambda content: content.replace(b"{", b"("),
        lambda content: b"PK\x03\x04no",
    ],
    ids=["one byte", "half", "empty", "header", "bracket", "zip"],
)
def test_a_damaged_file_is_reported_and_written_again(tmp_path, capsys, damage):
    path = tmp_path / "numbers.npy"
    cached(path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert cached(path).unique().tolist() == [7.0]
    assert capsys.readouterr().err.startswith(
        f"note: the cache {path} cannot be read ("
    )
    assert path.read_bytes() == whole
    assert cached(path, value=8).unique().tolist() == [7.0]
    assert capsys.readouterr().err == ""


def test_an_array_of_another_shape_is_written_again(tmp_path, capsys):
    path = tmp_path / "numbers.npy"
    cached(path, shape=(3,), dtype=np.uint8)
    assert cached(path).shape == (1000, 4)
    assert capsys.readouterr().err == (
        f"note: the cache {path} holds uint8 (3,) instead of float32 (1000, 4); "
        "it is written again\n"
    )


def test_files_have_the_default_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        cached(tmp_path / "numbers.npy")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "numbers.npy").stat().st_mode) == 0o644
