# SPDX-License-Identifier: Apache-2.0
"""A bus whose lanes are soon full: whoever sets its streams up gives them that limit."""

from mcp_agentbus.store import streams, subjects


def settle(monkeypatch, count):
    """Have each lane take so many tasks of one sender; before a session opens."""
    fewer = [
        {**each, "max_msgs_per_subject": count} if each["name"] == subjects.TASKS else each
        for each in streams.SETTINGS
    ]
    monkeypatch.setattr(streams, "SETTINGS", tuple(fewer))
