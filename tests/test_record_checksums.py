"""The checksums of TensorBoard's records."""

import numpy as np
import pytest
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from normlab.record_checksums import CHUNK, crc32c, record_checksum


def test_the_check_value_of_the_catalogue():
    """Of https://reveng.sourceforge.io/crc-catalogue/, CRC-32/ISCSI."""
    assert crc32c(b"123456789") == 0xE3069283


def test_nothing_and_one_byte():
    assert crc32c(b"") == 0
    assert crc32c(b"a") == 0xC1D04330


@pytest.mark.parametrize("chunks", [0, 1, 2, 5])
@pytest.mark.parametrize("more", [0, 1, 2, 3, 4, 5, 100])
def test_checksums_are_those_of_tensorboard(chunks, more):
    generator = np.random.default_rng(0)
    content = generator.bytes(chunks * CHUNK + more)
    assert record_checksum(content) == masked_crc32c(content)
