# SPDX-License-Identifier: Apache-2.0
"""Whoever looks for a subject finds it in one place."""

import inspect
import re

import pytest

from mcp_agentbus.store import subjects

SPELLED = [spells for name, spells in vars(subjects).items() if name.endswith("_subject")]


@pytest.mark.parametrize("spells", SPELLED, ids=lambda spells: spells.__name__)
def test_every_subject_stands_in_the_table_at_the_top(spells):
    table = re.findall(r"^ {4}(agentbus\S+) {2,}", subjects.__doc__, re.MULTILINE)

    names = ["*"] * len(inspect.signature(spells).parameters)
    assert spells(*names) in {re.sub(r"<\w+>", "*", row) for row in table}
