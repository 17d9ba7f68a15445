"""Paths that name files which the process has open."""

import os
from pathlib import Path

from normlab.descriptors import descriptor_of


def test_the_open_file_that_a_path_names(tmp_path):
    assert descriptor_of(Path("/dev/stdout")) == 1
    assert descriptor_of(Path("/dev/fd/12")) == 12
    assert descriptor_of(Path(f"/proc/{os.getpid()}/fd/2")) == 2
    link = tmp_path / "link"
    link.symlink_to("/dev/stderr")
    assert descriptor_of(link) == 2


def test_other_paths_name_no_open_file(tmp_path):
    assert descriptor_of(tmp_path / "fd" / "1") is None
    assert descriptor_of(Path("/proc/1/fd/1")) is None
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    assert descriptor_of(circle) is None
