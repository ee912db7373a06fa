# SPDX-License-Identifier: Apache-2.0
"""The examples that begin a file are true, where they need no bus, no listener and no files."""

from __future__ import annotations

import doctest
import importlib

import pytest

PURE = (
    "core.framing",
    "core.hosts",
    "core.ids",
    "core.lines",
    "core.notices",
    "core.places",
    "overview.todo",
    "relay.conversation",
    "store.subjects",
    "store.upkeep.as_made",
)


@pytest.mark.parametrize("module", PURE)
def test_the_examples_in_a_docstring_print_what_they_say(module):
    failed, tried = doctest.testmod(importlib.import_module(f"mcp_agentbus.{module}"))

    assert (failed, tried > 0) == (0, True)
