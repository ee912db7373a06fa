# SPDX-License-Identifier: Apache-2.0
"""What tests of the hosts share: the real Claude Code, and a user who has never started it."""

import shutil
import sys
from dataclasses import replace

import node_tools
import pytest
from claude_user import install, plugin, user
from local_server import settings_at


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


@pytest.fixture(scope="session")
def prepared(claude, tmp_path_factory):
    """A user whose Claude Code was given the plugin, its tree, and a copy of their home and it.

    Claude Code notes absolute paths: who takes it over is at the same place, with the copy's bytes.
    """
    place = tmp_path_factory.mktemp("connected")
    machine, tree = user(claude, place), plugin(place / "plugin")
    install(machine, tree)
    for folder in (machine.home, tree):
        shutil.copytree(folder, place / "copy" / folder.name, symlinks=True)
    return machine, tree, place / "copy"


@pytest.fixture
def connected(prepared):
    """A user as `machine`, whose Claude Code was just given the plugin; with its tree."""
    machine, tree, copy = prepared
    for folder in (machine.home, tree):
        shutil.rmtree(folder)
        shutil.copytree(copy / folder.name, folder, symlinks=True)
    return machine, tree


@pytest.fixture
def user_with_bus(connected, tmp_path):
    """A user as `connected`, with a bus that no test before has used; with the plugin's tree."""
    machine, tree = connected
    home = tmp_path / "bus"
    environ = {**machine.environ, "AGENTBUS_HOME": str(home)}
    return replace(machine, settings=replace(settings_at(home), environ=environ)), tree
