# SPDX-License-Identifier: Apache-2.0
"""By what a monitor knows that nobody reads its notices."""

import os
import sys
from types import SimpleNamespace

import pytest

from mcp_agentbus.cli import monitor

# No process has so many files open.
_NOWHERE = 1_000_000


@pytest.fixture
def left(monkeypatch):
    """Return how a monitor with that file as its output ends: with or without a word of it."""

    def ended(file):
        said = []
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(fileno=lambda: file))
        monitor._leave_unread(SimpleNamespace(leave=lambda: said.append("leave")))
        return said

    return ended


def test_one_whose_reader_has_gone_leaves(left):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert left(writer) == ["leave"]
    finally:
        os.close(writer)


def test_one_that_cannot_know_of_its_reader_stays(left):
    """So macOS says of each terminal, and of /dev/null."""
    assert left(_NOWHERE) == []
