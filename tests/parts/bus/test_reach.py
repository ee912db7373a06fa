# SPDX-License-Identifier: Apache-2.0
"""Why nobody learns where a server listens that has just started."""

from mcp_agentbus.bus import reach


def test_an_address_that_goes_as_its_server_ends_says_nothing_of_the_disk(tmp_path):
    (tmp_path / "nats-server_1.ports").symlink_to(tmp_path / "gone")

    assert reach.untold(tmp_path, tmp_path / "nats.log") is None
