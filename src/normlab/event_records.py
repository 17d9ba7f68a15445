"""The records of TensorBoard's event files, and their checksums.

TensorBoard computes CRC-32C byte by byte in Python (tensorboard 2.20), which takes
longer than all else that is done to write a record.
"""

import struct
from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # of CRC-32C, its lowest bit first
ALL_BITS = 0xFFFFFFFF
MASK = 0xA282EAD8  # what TensorBoard adds to a rotated checksum
PART_BYTES = 256


def record(content: bytes) -> bytes:
    """A record: length, checksum of the length, content, checksum of the content."""
    length = struct.pack("<Q", len(content))
    return b"".join([length, _masked(length), content, _masked(content)])


def _masked(data: bytes) -> bytes:
    checksum = crc32c(data)
    rotated = (checksum >> 15) | (checksum << 17)
    return struct.pack("<I", (rotated + MASK) & ALL_BITS)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of bytes, as in RFC 3720, appendix B.4.

    The checksum of a sum (exclusive or) of data is the sum of their checksums. So every
    byte of a part contributes a number that depends on the byte and on how many follow
    it in the part.
    """
    tables = _contributions()
    state = ALL_BITS
    for start in range(0, len(data), PART_BYTES):
        part = data[start : start + PART_BYTES]
        # The state counts as if it had been added to the first four bytes.
        count = min(len(part), 4)
        mixed = state ^ int.from_bytes(part[:count], "little")
        first = mixed.to_bytes(4, "little")[:count]
        values = np.frombuffer(first + part[count:], np.uint8)
        following = np.arange(len(values) - 1, -1, -1)
        contributions = tables[following, values]
        state = mixed >> (8 * count) ^ int(np.bitwise_xor.reduce(contributions))
    return state ^ ALL_BITS


@cache
def _contributions() -> np.ndarray:
    """What a byte contributes, by the number of bytes that follow it ``(S, 256)``."""
    values: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        odd = values & 1
        values = (values >> 1) ^ odd * np.uint32(POLYNOMIAL)
    rows = [values]
    for _ in range(3):
        rows.append(_after_one(rows[-1], values))
    tables = np.stack(rows)
    while len(tables) < PART_BYTES:
        # As many bytes again: each of the four bytes of a state contributes by itself.
        last = len(tables) - 1
        further = tables[last][tables & 255]
        for place in range(1, 4):
            further ^= tables[last - place][(tables >> 8 * place) & 255]
        tables = np.concatenate([tables, further])
    return tables


def _after_one(states: np.ndarray, values: np.ndarray) -> np.ndarray:
    """States after a byte that is zero."""
    return (states >> 8) ^ values[states & 255]
