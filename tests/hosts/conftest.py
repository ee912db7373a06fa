# SPDX-License-Identifier: Apache-2.0
"""What tests of the hosts share: the real Claude Code, and a user who has never started it."""

import sys

import node_tools
import pytest
from claude_user import plugin, user


@pytest.fixture(scope="session")
def claude(tmp_path_factory):
    """A folder on PATH with the real program, and a python3 for the launcher of the plugin."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "claude").symlink_to(node_tools.claude_code())
    (folder / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "python3").chmod(0o755)
    return folder


@pytest.fixture
def tree(tmp_path):
    """The plugin as a wheel carries it: the root of a checkout has much besides."""
    return plugin(tmp_path / "plugin")


@pytest.fixture
def machine(claude, tmp_path):
    """A user who has a bus of their own and has never started Claude Code."""
    return user(claude, tmp_path)
