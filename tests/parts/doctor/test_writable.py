# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` says of a folder in which nothing can be written."""

import os
from types import SimpleNamespace

import pytest

from mcp_agentbus.doctor import machine


@pytest.mark.parametrize(
    ("flag", "why", "fix"),
    [
        (os.ST_RDONLY, "Read-only file system", "mounted read-only, as by a sandbox"),
        (0, "Permission denied", "ls -ld"),
        (None, "Permission denied", "ls -ld"),
    ],
)
def test_a_folder_that_cannot_be_written_to_is_told_with_why(tmp_path, monkeypatch, flag, why, fix):
    def statvfs(_):
        if flag is None:
            raise PermissionError
        return SimpleNamespace(f_flag=flag)

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", statvfs)

    found = machine._writable(tmp_path / "data")

    assert f"cannot be written to: {why}" in found.said
    assert fix in found.fix
