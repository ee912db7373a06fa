# SPDX-License-Identifier: Apache-2.0
"""The line that a hook gives its session."""

from mcp_agentbus.core.notices import Counts
from mcp_agentbus.listener.digest import text


def test_it_says_that_more_came_and_nothing_if_nothing_did():
    assert text(Counts(), first=True) == text(Counts(), first=False) == ""
    assert text(Counts(others=2), first=True).startswith("2 tasks wait")
    assert text(Counts(others=2), first=False).startswith("New since the last notice: 2 tasks wait")
