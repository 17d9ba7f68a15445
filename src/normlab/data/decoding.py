"""Image files as one uint8 tensor, decoded once and mapped from a cache later."""

import hashlib
import stat
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image

from normlab.data.array_cache import cached_array
from normlab.data.downloads import open_data
from normlab.data.notes import note_once
from normlab.messages import first_line
from normlab.terminal import with_progress

CACHE_VERSION = 1  # part of the key: another number makes every older cache unused

# Formats of pixel images. Pillow hands PostScript, also inside of files of IPTC, to
# Ghostscript, a program that runs what the file says.
FORMATS = frozenset(
    (
        *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM"),
        *("QOI", "SGI", "TGA", "TIFF", "WEBP", "XBM"),
    )
)

# Formats in which a file may be an animation or a stack of slices.
MANY_FRAMES = ("GIF", "PNG", "TIFF", "WEBP")

# Tags of TIFF files, and the value of the second one if zero is white.
BITS_PER_SAMPLE = 258
PHOTOMETRIC = 262
WHITE_IS_ZERO = 0


def decode(
    files: list[Path], image_size: int, cache: str | None = None
) -> torch.Tensor:
    """Decode image files into RGB images uint8 ``(N, 3, S, S)``, in their order.

    Args:
        files: images of any size, in one of `FORMATS`.
        image_size: S. Images of another size are resized (bilinear, antialiased)
            without keeping their aspect ratio.
        cache: folder in which the decoded array is kept, or None. The key depends on
            the files, see `_key`.

    Raises:
        ValueError: a file is missing, truncated or no image, or the cache cannot be
            written.
    """
    key = "" if cache is None else _key(files, image_size)
    sources = [Source(str(path), partial(open_data, path)) for path in files]
    return decode_sources(sources, image_size, cache, key)


class Source(NamedTuple):
    """An image before it is decoded.

    Attributes:
        name: for messages.
        open: opens the content of its file.
    """

    name: str
    open: Callable[[], BinaryIO]


class Sources(Protocol):
    """Images by their number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Source: ...


def decode_sources(
    sources: Sources, image_size: int, cache: str | None, key: str
) -> torch.Tensor:
    """Decode images as `decode` does.

    Args:
        sources: the images.
        image_size: height and width in pixels to which they are resized.
        cache: folder in which the decoded array is kept, or None.
        key: what the images are called in the cache.
    """
    shape = (len(sources), 3, image_size, image_size)
    if cache is None:
        return torch.from_numpy(_decode_into(np.empty(shape, np.uint8), sources))
    path = Path(cache) / f"images-{key}.npy"
    remedy = "or decode in every run with dataset.load.cache=null"
    return cached_array(
        path, shape, np.uint8, lambda array: _decode_into(array, sources), remedy
    )


def _decode_into(array: np.ndarray, sources: Sources) -> np.ndarray:
    """Fill an array ``(N, 3, S, S)`` in several threads.

    Pillow decodes without holding Python's global interpreter lock.
    """

    with_more_frames: list[str] = []

    def decode_one(index: int) -> None:
        source = sources[index]
        array[index], has_more_frames = _read(source, array.shape[-1])
        if has_more_frames:
            with_more_frames.append(source.name)

    # Warning filters are shared by all threads, so they are set once, outside them.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")
        # Pillow only warns of images that have up to twice the pixels of its limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            done = pool.map(decode_one, range(len(sources)))
            for _ in with_progress(done, len(sources), "decoding images"):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if with_more_frames:
        number = len(with_more_frames)
        note_once(
            f"of images with several frames, only the first frame is used: "
            f"{number} of {len(sources)}, such as {min(with_more_frames)}"
        )
    return array


def _formats() -> tuple[str, ...]:
    """The `FORMATS` that Pillow can read here, common ones first."""
    Image.preinit()
    Image.init()
    return tuple(name for name in Image.ID if name in FORMATS)


def _read(source: Source, image_size: int) -> tuple[np.ndarray, bool]:
    """Read one image as uint8 ``(3, S, S)``, and whether the file has more frames."""
    size = (image_size, image_size)
    try:
        with (
            source.open() as content,
            Image.open(content, formats=_formats()) as file,
        ):
            image = _as_rgb(file)
            if image.size != size:
                image = image.resize(size, Image.Resampling.BILINEAR)
            pixels = np.asarray(image).transpose(2, 0, 1)
            return pixels, _has_more_frames(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"image {source.name} cannot be read: {first_line(error).rstrip('.')}; "
            "scale it down or remove it"
        ) from error
    # Any type: Pillow's readers raise whatever a damaged file leads to.
    except Exception as error:
        raise ValueError(
            f"image {source.name} cannot be read: {error}; replace or remove it"
        ) from error


def _has_more_frames(image: Image.Image) -> bool:
    """Whether a file goes on behind its first frame.

    Further frames of MPO files, as cameras write them, are previews.
    """
    if image.format not in MANY_FRAMES:
        return False
    try:
        image.seek(1)
    # Any type: a damaged frame that is not used does no harm.
    except Exception:
        return False
    return True


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8 bits per channel.

    Pillow's own conversion clips wider values at 255, so those are scaled first.

    Raises:
        ValueError: the values have no known range.
    """
    if image.mode == "F":
        image = _from_real_numbers(image)
    elif image.mode == "I" and image.format != "PPM":
        raise ValueError(
            "its values are whole numbers of an unknown range; "
            "store it with 8 or 16 unsigned bits"
        )
    elif image.mode.startswith("I"):
        image = _from_16_bits(image)
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Scale whole numbers of up to 16 bits, and those of PGM files, to 0..255."""
    values = np.asarray(image).astype(np.uint16)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined] # of this format only
        levels = 2 ** tags[BITS_PER_SAMPLE][0]
        if levels < 2**16:
            values = (values.astype(np.uint32) * 65535 // (levels - 1)).astype(
                np.uint16
            )
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            values = 65535 - values
    image = Image.fromarray(values)
    return image.point(lambda value: value / 257).convert("L")


def _from_real_numbers(image: Image.Image) -> Image.Image:
    """Scale real numbers from 0..1, their usual range in images, to 0..255.

    Raises:
        ValueError: a value lies outside of this range.
    """
    values = np.asarray(image)
    if not (values.min() >= 0 and values.max() <= 1):  # also if one is NaN
        raise ValueError(
            f"its values are real numbers from {values.min():g} to {values.max():g}, "
            "a range that is not known to be black to white; scale them to 0..1"
        )
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined] # of this format only
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            values = 1 - values
    levels = np.rint(values * 255)
    return Image.fromarray(levels.astype(np.uint8))


def _key(files: list[Path], image_size: int) -> str:
    """Digest of the files as they are on disk, in order.

    It covers each file's absolute path, size, and times of modification and of change.
    The path, because unpacked files of two folders can agree in name, size and time.
    The time of change, which no program can set, because an archive that is unpacked
    over another can bring other pixels with the same size and time of modification.
    Reading the bytes would be as safe, but takes seconds in every run for 110,000 small
    files, and minutes for photographs.
    """
    state = hashlib.sha256(f"{CACHE_VERSION}|{image_size}\n".encode())
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise ValueError(f"image {path} cannot be read: {error}") from error
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"image {path} cannot be read: it is no regular file")
        times = f"{status.st_mtime_ns}|{status.st_ctime_ns}"
        state.update(f"{path.absolute()}|{status.st_size}|{times}\n".encode())
    return state.hexdigest()[:20]
