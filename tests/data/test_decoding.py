import os
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from normlab.data.decoding import FORMATS, decode
from normlab.data.image_files import readable_endings


def photograph(path, colour=(100, 0, 0), size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def files(tmp_path):
    return [
        photograph(tmp_path / "images" / f"{number}.png", (10 * number, 0, 0))
        for number in range(3)
    ]


def test_images_in_the_order_of_the_files(files):
    images = decode(files[::-1], 4)
    assert (images.dtype, images.shape) == (torch.uint8, (3, 3, 4, 4))
    assert images[:, 0, 0, 0].tolist() == [20, 10, 0]


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif"])
def test_formats(tmp_path, ending):
    red = decode([photograph(tmp_path / f"image.{ending}", (200, 0, 0))], 4)[0, 0]
    assert abs(int(red[0, 0]) - 200) <= 2


def test_the_endings_of_images_are_those_of_the_formats():
    formats = Image.registered_extensions()
    found = {formats[ending] for ending in readable_endings()}
    assert found - {"MPO"} <= FORMATS  # the reader of JPEG opens MPO


def test_postscript_is_handed_to_no_other_program(tmp_path, monkeypatch):
    photograph(tmp_path / "drawing.eps").rename(tmp_path / "photo.png")
    started = []
    monkeypatch.setattr(
        EpsImagePlugin, "Ghostscript", lambda *a, **k: started.append(a)
    )
    with pytest.raises(ValueError, match=r"photo\.png cannot be read"):
        decode([tmp_path / "photo.png"], 4)
    assert started == []


def test_sixteen_bits_are_scaled(tmp_path):
    Image.fromarray(np.full((4, 4), 100 * 257, np.uint16)).save(tmp_path / "scan.png")
    assert decode([tmp_path / "scan.png"], 4).unique().tolist() == [100]


def tiff(path, values, tags):
    """Write a TIFF file by hand: a header, one strip of values, and its tags.

    Args:
        path: of the file.
        values: array ``(H, W)`` in the byte order of the file.
        tags: value by number, in addition to those that describe the array.
    """
    is_big = values.dtype.byteorder == ">"
    order = "big" if is_big else "little"
    bits = values.dtype.itemsize * 8
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, width = values.shape
    strip = values.tobytes()
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1}
    entries |= {278: height, 279: len(strip), 339: kind, **tags}
    directory = len(entries).to_bytes(2, order)
    for tag, value in sorted(entries.items()):
        directory += tag.to_bytes(2, order) + (4).to_bytes(2, order)
        directory += (1).to_bytes(4, order) + value.to_bytes(4, order)
    head = (b"MM" if is_big else b"II") + (42).to_bytes(2, order)
    head += (8 + len(strip)).to_bytes(4, order)
    path.write_bytes(head + strip + directory + bytes(4))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "value", "tags", "expected"),
    [
        ("u2", 40_000, {}, 155),
        ("f4", 0.5, {}, 128),
        ("f4", 0.2, {}, 51),
        ("f4", 0.2, {262: 0}, 204),
        ("f4", 1.0, {}, 255),
    ],
)
def test_wide_values_of_tiff_are_scaled(tmp_path, order, kind, value, tags, expected):
    values = np.full((4, 4), value, f"{order}{kind}")
    path = tiff(tmp_path / "scan.tiff", values, tags)
    assert decode([path], 4).unique().tolist() == [expected]


def test_sixteen_bits_may_count_from_white(tmp_path):
    values = np.full((4, 4), 40_000, "<u2")
    assert decode([tiff(tmp_path / "scan.tiff", values, {262: 0})], 4).max() == 99


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("i4", 40_000, "its values are whole numbers of an unknown range; store it"),
        ("i2", 300, "its values are whole numbers of an unknown range"),
        ("f4", 300.0, "its values are real numbers from 300 to 300, a range that is"),
        ("f4", -0.5, "its values are real numbers from -0.5 to -0.5"),
        ("f4", float("nan"), "its values are real numbers from nan to nan"),
    ],
)
def test_values_of_an_unknown_range_are_refused(tmp_path, order, kind, value, reason):
    values = np.full((4, 4), value, f"{order}{kind}")
    path = tiff(tmp_path / "scan.tiff", values, {})
    with pytest.raises(ValueError, match=f"image {path} cannot be read: {reason}"):
        decode([path], 4)


def test_twelve_bits_of_tiff_are_scaled(tmp_path):
    """Two values in three bytes: 0xfff is white, 0x800 half of it."""
    path = tmp_path / "scan.tiff"
    strip = np.frombuffer(b"\xff\xf8\x00" * 8, "<u1").reshape(4, 6)
    tiff(path, strip, {256: 4, 258: 12})
    assert decode([path], 4)[0, 0, 0].tolist() == [255, 127, 255, 127]


def test_sixteen_bits_of_pgm_are_scaled(tmp_path):
    (tmp_path / "scan.pgm").write_bytes(b"P5 2 2 65535\n" + b"\x64\x64" * 4)
    assert decode([tmp_path / "scan.pgm"], 2).unique().tolist() == [100]
    (tmp_path / "scan.pgm").write_bytes(b"P5 2 2 1023\n" + b"\x03\xff" * 4)
    assert decode([tmp_path / "scan.pgm"], 2).unique().tolist() == [255]


def test_a_truncated_jpeg_is_refused_by_name(tmp_path):
    whole = photograph(tmp_path / "whole.jpg", size=(64, 64)).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[:400])
    with pytest.raises(ValueError, match=r"half\.jpg cannot be read"):
        decode([tmp_path / "half.jpg"], 64)


def test_an_image_of_absurd_size_is_refused_by_name(files, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(
        ValueError,
        match=r"0\.png cannot be read: Image size .*; scale it down or remove it",
    ):
        decode(files, 4)
    # Between the limit and twice the limit, Pillow itself only warns.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 47)
    with pytest.raises(ValueError, match=r"0\.png cannot be read: Image size"):
        decode(files, 4)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48)
    assert len(decode(files, 4)) == 3


@pytest.mark.timeout(100)
def test_pipes_and_devices_are_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        for cache in (None, str(tmp_path / "cache")):
            with pytest.raises(ValueError, match=rf"{name}\.png.* (a|no) regular file"):
                decode([tmp_path / f"{name}.png"], 4, cache)


def test_a_link_to_an_image_is_followed(files, tmp_path):
    (tmp_path / "link.png").symlink_to(files[1])
    assert decode([tmp_path / "link.png"], 4)[0, 0, 0, 0] == 10


def test_a_cache_with_other_pixels_is_decoded_again(files, tmp_path, capsys):
    cache = tmp_path / "cache"
    decode(files, 4, str(cache))
    (path,) = cache.glob("*.npy")
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    assert torch.equal(decode(files, 4, str(cache)), decode(files, 4))
    assert "does not hold the bytes that were written" in capsys.readouterr().err


def test_decoding_leaves_the_warning_filters_as_they_were(files):
    before = list(warnings.filters)
    decode(files * 100, 4)
    assert warnings.filters == before


def test_the_cache_is_read_and_follows_the_files(files, tmp_path):
    cache = tmp_path / "cache"
    first = decode(files, 4, str(cache))
    assert len(list(cache.glob("*.npy"))) == 1
    first[1] = 0  # copy-on-write: the file does not change
    assert decode(files, 4, str(cache))[1, 0, 0, 0] == 10
    photograph(files[1], (7, 7, 7), (9, 9))
    assert decode(files, 4, str(cache))[1, 0, 0, 0] == 7
    assert decode(files, 2, str(cache)).shape == (3, 3, 2, 2)
    assert len(list(cache.glob("*.npy"))) == 3


def test_a_cached_array_is_not_decoded_again(files, tmp_path, monkeypatch):
    decode(files, 4, str(tmp_path / "cache"))
    monkeypatch.setattr(
        "normlab.data.decoding._decode_into", lambda *_: pytest.fail("decoded again")
    )
    assert decode(files, 4, str(tmp_path / "cache"))[2, 0, 0, 0] == 20


def test_files_of_equal_name_size_and_time_are_told_apart(tmp_path):
    """Train and test are told apart, even if archives store equal sizes and times."""
    files = [
        photograph(tmp_path / part / "cat" / "0.bmp", (red, 0, 0))
        for part, red in (("train", 1), ("test", 2))
    ]
    for file in files:
        os.utime(file, (1e9, 1e9))
    values = [
        decode([file], 4, str(tmp_path / "cache"))[0, 0, 0, 0].item() for file in files
    ]
    assert values == [1, 2]


def test_files_with_a_new_time_of_change_are_decoded_again(tmp_path):
    file = photograph(tmp_path / "0.bmp", (1, 0, 0))
    before = file.stat()
    assert decode([file], 4, str(tmp_path / "cache"))[0, 0, 0, 0] == 1
    # Clocks of file systems tick every few milliseconds.
    while file.stat().st_ctime_ns == before.st_ctime_ns:
        photograph(file, (2, 0, 0))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (
        before.st_size,
        before.st_mtime_ns,
    )
    assert decode([file], 4, str(tmp_path / "cache"))[0, 0, 0, 0] == 2


def test_a_failed_decoding_leaves_no_folder(files, tmp_path):
    files[2].write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"2\.png"):
        decode(files, 4, str(tmp_path / "outputs" / "cache"))
    assert not (tmp_path / "outputs").exists()


def test_an_incomplete_cache_is_removed(files, tmp_path):
    cache = tmp_path / "cache"
    decode(files, 4, str(cache))
    (complete,) = cache.glob("*.npy")
    half = cache / f".{complete.stem}-abc.npy"
    complete.rename(half)
    assert decode(files, 4, str(cache))[2, 0, 0, 0] == 20
    assert not half.exists()


def test_threads_at_the_same_time_decode_once(files, tmp_path, monkeypatch):
    from normlab.data import decoding

    calls = []
    original = decoding._decode_into
    monkeypatch.setattr(
        decoding,
        "_decode_into",
        lambda *arguments: calls.append(1) or original(*arguments),
    )
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(decode(files, 4, str(tmp_path / "cache")))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [images[:, 0, 0, 0].tolist() for images in results] == [[0, 10, 20]] * 4
    assert len(calls) == 1


def test_a_cache_that_cannot_be_written_is_refused(files, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError,
        match=r"the cache .* cannot be written: .*outputs.*dataset\.load\.cache=null",
    ):
        decode(files, 4, str(tmp_path / "file" / "cache"))


@pytest.mark.parametrize("ending", ["gif", "png", "tiff", "webp"])
def test_only_the_first_frame_is_used_and_a_note_says_so(tmp_path, ending, capsys):
    first, second = (Image.new("RGB", (4, 4), (red, 0, 0)) for red in (200, 10))
    path = tmp_path / f"frames.{ending}"
    first.save(path, save_all=True, append_images=[second])
    single = photograph(tmp_path / f"single.{ending}", (200, 0, 0), (4, 4))
    pixels = decode([single, path], 4)
    assert (pixels[:, 0].float() - 200).abs().max() <= 2
    note = "note: of images with several frames, only the first frame is used: 1 of 2"
    assert capsys.readouterr().err == f"{note}, such as {path}\n"


def test_images_of_one_frame_need_no_note(files, capsys):
    decode(files, 4)
    assert capsys.readouterr().err == ""
