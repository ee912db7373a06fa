# SPDX-License-Identifier: Apache-2.0
"""Each feature of the systems before this one names tests that are there, or why it is not the same.

Whether they show it, whoever reads both decides.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from seed_failures import FAILURES
from seeds import FEATURES, SYSTEMS

TESTS = Path(__file__).parents[1]
ROWS = FEATURES | FAILURES
# So many of each were counted when those systems were read and run.
COUNTED = {"SB": 25, "AB": 10, "AR": 5, "GB": 4, "sw": 14, "ab": 8}


@cache
def _tests(file: str) -> set[str]:
    return {
        node.name
        for node in ast.parse((TESTS / file).read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_no_row_is_left_out():
    assert list(ROWS) == [
        f"{kind}{number:02d}" if kind.islower() else f"{kind}{number}"
        for kind, count in COUNTED.items()
        for number in range(1, count + 1)
    ]
    assert list(SYSTEMS) == [kind for kind in COUNTED if kind.isupper()]


@pytest.mark.parametrize("row", ROWS)
def test_each_row_is_shown_by_tests_that_are_there(row):
    named = [test.split("::") for test in ROWS[row].tests]

    assert named or ROWS[row].differs
    assert [name for file, name in named if name not in _tests(file)] == []
