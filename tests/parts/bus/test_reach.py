# SPDX-License-Identifier: Apache-2.0
"""Why nobody learns where a server listens that has just started, and which one holds its lock."""

from pathlib import Path

from mcp_agentbus.bus import reach


def test_an_address_that_goes_as_its_server_ends_says_nothing_of_the_disk(tmp_path):
    (tmp_path / "nats-server_1.ports").symlink_to(tmp_path / "gone")

    assert reach.untold(tmp_path, tmp_path / "nats.log") is None


def test_a_lock_is_named_as_it_is_typed_in_a_shell():
    """In macOS' own folders there is a space."""
    error = reach.not_ours(None, Path("/Library/Application Support/nats.lock"))

    assert error.hint.endswith(": fuser -v '/Library/Application Support/nats.lock'")
