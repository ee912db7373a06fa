# SPDX-License-Identifier: Apache-2.0
"""What a session hands on to the listener that it starts."""

import subprocess

import pytest
from local_server import settings_at

from mcp_agentbus.core import hosts
from mcp_agentbus.relay import starter


@pytest.mark.parametrize(
    ("name", "is_handed_on"),
    [
        ("AGENTBUS_TOKEN", True),
        ("LANG", True),
        ("NOTIFY_SOCKET", False),
        ("WATCHDOG_USEC", False),
        ("LISTEN_FDS", False),
    ],
)
def test_a_listener_that_a_session_starts_has_nothing_of_its_hosts_service_manager(
    tmp_path, monkeypatch, name, is_handed_on
):
    """It would be the host's to the manager, and ask its watchdog for its own end."""
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *_, env, **__: started.append(env))
    monkeypatch.setattr(hosts, "begun_with", dict)
    settings = settings_at(tmp_path / "bus", HOME=str(tmp_path), **{name: "1"})

    assert starter.start_listener(settings)

    assert (name in started[0]) == is_handed_on
