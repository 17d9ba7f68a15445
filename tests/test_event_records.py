"""The checksums of event files are those of the standard and of TensorBoard."""

import numpy as np
import pytest
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from normlab.event_records import PART_BYTES, crc32c, record


def test_the_checksum_of_nine_digits_is_that_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283


def test_the_checksum_of_thirty_two_zeros_is_that_of_the_standard():
    assert crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize(
    "size", [*range(10), *range(PART_BYTES - 1, PART_BYTES + 6), 5 * PART_BYTES + 3]
)
def test_checksums_are_those_of_tensorboard(size):
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == pywrap_tensorflow.crc32c(data)


def test_tensorboard_reads_records_and_checks_them(tmp_path):
    path = tmp_path / "events"
    contents = [b"", b"one", bytes(range(256)) * 9]
    path.write_bytes(b"".join(map(record, contents)))
    reader = PyRecordReader_New(str(path))
    found = []
    for _ in contents:
        reader.GetNext()
        found.append(reader.record())
    assert found == contents
