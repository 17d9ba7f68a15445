"""Image files to one uint8 tensor, decoded once: later runs map the cache into memory."""

import hashlib
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from normlab.data.array_cache import cached_array

CACHE_VERSION = 1  # another number makes every older cache unused
LONG = 5000  # files from which on a progress bar is worth its line


def decode(
    files: list[Path], image_size: int, cache: str | None = None
) -> torch.Tensor:
    """Colour images ``(N, 3, S, S)`` of the files in their order.

    Args:
        files: any format that Pillow reads, any size.
        image_size: S; other sizes are resized (bilinear, antialiased), whatever their sides' ratio.
        cache: folder in which the decoded array is kept, or None. It is keyed by the files, see `_key`.

    Raises:
        ValueError: a file that is missing, truncated or no image, by name; a cache that cannot be written.
    """
    if cache is None:
        return torch.from_numpy(
            _decode_into(
                np.empty((len(files), 3, image_size, image_size), np.uint8), files
            )
        )
    path = Path(cache) / f"images-{_key(files, image_size)}.npy"
    shape = (len(files), 3, image_size, image_size)
    remedy = "or decode in every run with dataset.load.cache=null"
    return cached_array(
        path, shape, np.uint8, lambda array: _decode_into(array, files), remedy
    )


def _decode_into(array: np.ndarray, files: list[Path]) -> np.ndarray:
    def one(index: int) -> None:
        array[index] = _read(files[index], array.shape[-1])

    quiet = len(files) < LONG or not sys.stderr.isatty()
    # Warnings are set for all threads here: setting them in a thread changes them for the others at any moment.
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor() as pool,
    ):  # Pillow decodes outside of the interpreter lock
        warnings.simplefilter("ignore")
        try:
            done = pool.map(one, range(len(files)))
            for _ in track(
                done, "decoding images", total=len(files), transient=True, disable=quiet
            ):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return array


def _read(path: Path, image_size: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):  # Pillow would clip 0..65535 at 255
                image = image.point(lambda value: value / 257).convert("L")
            image = image.convert("RGB")
            if image.size != (image_size, image_size):
                image = image.resize(
                    (image_size, image_size), Image.Resampling.BILINEAR
                )
            return np.asarray(image).transpose(2, 0, 1)
    except Exception as error:  # damaged files make Pillow's readers raise whatever they happen to meet
        raise ValueError(
            f"image {path} cannot be read: {error}; replace or remove it"
        ) from error


def _key(files: list[Path], image_size: int) -> str:
    """Digest of what is on disk, in order: paths, sizes, and times of modification and of change.

    Whole paths, since unpacked files of two folders can agree in name, size and time. The time of change, since an
    archive unpacked over another can bring pixels of the same size and time of modification; no program sets it.
    Bytes would tell as much, but reading 110,000 small files takes seconds in every run, and photographs minutes.
    """
    state = hashlib.sha256(f"{CACHE_VERSION}|{image_size}\n".encode())
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise ValueError(f"image {path} cannot be read: {error}") from error
        state.update(
            f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}\n".encode()
        )
    return state.hexdigest()[:20]
