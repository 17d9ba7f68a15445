"""Image files to one uint8 tensor, decoded once: later runs map the cache into memory."""

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def decode(files: list[Path], image_size: int, cache: str | None = None) -> torch.Tensor:
    """Colour images ``(N, 3, S, S)`` of the files in their order.

    Args:
        files: any format that Pillow reads, any size.
        image_size: S; other sizes are resized (bilinear, antialiased).
        cache: folder in which the decoded array is kept, or None. It is keyed by names, sizes and times of the files.

    Raises:
        ValueError: a file that is missing, truncated or no image, by name.
    """
    if cache is None:
        return torch.from_numpy(_decode_into(np.empty((len(files), 3, image_size, image_size), np.uint8), files))
    path = Path(cache) / f"images-{_key(files, image_size)}.npy"
    if not path.is_file():
        _write(path, files, image_size)
    # Copy-on-write: the file is shared between processes and stays as it is, whatever is done to the tensor.
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def _write(path: Path, files: list[Path], image_size: int) -> None:
    """Decode into a file of another name and rename it when it is complete, so that no half of one is ever read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npy")
    shape = (len(files), 3, image_size, image_size)
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        _decode_into(array, files)
        array.flush()
        del array
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _decode_into(array: np.ndarray, files: list[Path]) -> np.ndarray:
    def one(index: int) -> None:
        array[index] = _read(files[index], array.shape[-1])

    with ThreadPoolExecutor() as pool:  # Pillow decodes outside of the interpreter lock
        for _ in pool.map(one, range(len(files)), chunksize=64):
            pass
    return array


def _read(path: Path, image_size: int) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image = image.convert("RGB")
                if image.size != (image_size, image_size):
                    image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
                return np.asarray(image).transpose(2, 0, 1)
    except (OSError, SyntaxError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"image {path} cannot be read: {error}; replace or remove it") from error


def _key(files: list[Path], image_size: int) -> str:
    """Digest of what is on disk: names, sizes and modification times, in order."""
    state = hashlib.sha256(str(image_size).encode())
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise ValueError(f"image {path} cannot be read: {error}") from error
        state.update(f"{path.parent.name}/{path.name}|{status.st_size}|{status.st_mtime_ns}\n".encode())
    return state.hexdigest()[:20]
