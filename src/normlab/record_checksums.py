"""The checksums of TensorBoard's records, by numpy.

TensorBoard's own function makes a step of Python for each byte, which takes most of the
time of a record (tensorboard 2.20).

A record holds a checksum of its length and one of its content. Each is CRC-32C
(Castagnoli, Braeuer and Herrmann, 1993), rotated and shifted. CRC-32C is linear: it is
the XOR of what every byte contributes, which depends on the value of the byte and on
its distance from the end.
"""

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # its lowest bit stands for the highest power
CHUNK = 512  # bytes at a time
SHIFT = 0xA282EAD8  # of TensorFlow's records
MASK = 0xFFFFFFFF


def record_checksum(content: bytes) -> int:
    """CRC-32C of some bytes, rotated by 15 bits and shifted, as records have it."""
    checksum = crc32c(content)
    rotated = (checksum >> 15) | (checksum << 17)
    return (rotated + SHIFT) & MASK


def crc32c(content: bytes) -> int:
    """CRC-32C of some bytes."""
    state = MASK
    for start in range(0, len(content), CHUNK):
        chunk = content[start : start + CHUNK]
        state = _state_after(chunk, state)
    return state ^ MASK


def _state_after(chunk: bytes, state: int) -> int:
    """The state of a checksum after up to `CHUNK` more bytes."""
    size = len(chunk)
    values = np.frombuffer(chunk, np.uint8).copy()
    # The state changes the first four bytes; fewer bytes leave a part of it.
    first_bytes = state.to_bytes(4, "little")
    before = np.frombuffer(first_bytes, np.uint8)
    values[:4] ^= before[:size]
    rest = state >> (8 * size)
    of_places = _contributions()[-size:]
    added = of_places[np.arange(size), values]
    total = np.bitwise_xor.reduce(added)
    return rest ^ int(total)


@cache
def _contributions() -> np.ndarray:
    """What a byte adds to the state after a chunk, uint32 ``(CHUNK, 256)``.

    Rows are places in the chunk, columns are values of the byte.
    """
    last: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        half = last >> 1
        last = np.where(last & 1, half ^ POLYNOMIAL, half)
    places = [last]
    while len(places) < CHUNK:
        following = places[-1]
        lowest = following & 255
        places.append((following >> 8) ^ last[lowest])
    return np.stack(places[::-1])
