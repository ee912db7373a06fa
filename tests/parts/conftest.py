# SPDX-License-Identifier: Apache-2.0
"""What the tests of the embedded server share: a folder in which one may run."""

from __future__ import annotations

import pytest
from local_server import server_folder

from mcp_agentbus import embedded


@pytest.fixture
def settings(tmp_path):
    with server_folder(tmp_path / "home") as settings:
        yield settings


@pytest.fixture
def files(settings):
    return embedded.Files(settings.data_dir)
