# SPDX-License-Identifier: Apache-2.0
"""In whose home which folders are made."""

import os
from pathlib import Path

import pytest

from mcp_agentbus.core.places import make_private, own_folders
from mcp_agentbus.errors import BadSetup


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Be root in the home of a user; yield that user's number."""
    number = os.getuid() or 4711
    if os.getuid() == 0:
        os.chown(tmp_path, number, -1)
    for name in [name for name in os.environ if name.startswith(("XDG_", "AGENTBUS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return str(number)


def test_what_is_typed_with_sudo_makes_no_folder_in_the_home_of_who_typed_it(user, monkeypatch):
    """It was root's, and that user's own agentbus failed from then on."""
    monkeypatch.setenv("SUDO_UID", user)
    for folder in own_folders(os.environ)[:3]:
        with pytest.raises(BadSetup, match="belong to root") as refused:
            make_private(f"{folder}/below")
        assert "`sudo -H`" in refused.value.hint
        assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("by", "folder"),
    [(None, ".config/agentbus"), ("0", ".config/agentbus"), ("1", ".config/agentbus"),
     ("it", "backups/bus")],
    ids=["a container", "root's own sudo", "a home of nobody else's", "a folder that was named"],
)  # fmt: skip
def test_root_makes_other_folders_as_everybody_does(user, tmp_path, monkeypatch, by, folder):
    monkeypatch.delenv("SUDO_UID", raising=False)
    if by:
        monkeypatch.setenv("SUDO_UID", user if by == "it" else by)
    make_private(tmp_path / folder)

    assert (tmp_path / folder).is_dir()
