# SPDX-License-Identifier: Apache-2.0
"""Whatever `agentbus doctor --fix` is said to mend names a test that is there, to break and mend it.

Whether it does so, the test itself says.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from repairs import REPAIRS

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("what", REPAIRS)
def test_what_is_mended_has_a_test_that_is_there(what):
    file, _, name = REPAIRS[what].test.partition("::")
    name, _, broken = name.rstrip("]").partition("[")
    there = {node.name for node in ast.walk(ast.parse((TESTS / file).read_text()))
             if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}  # fmt: skip

    assert {name, broken or name} <= there


def test_whatever_is_broken_there_has_a_row():
    rows = {row.test.partition("[")[2].rstrip("]") for row in REPAIRS.values()} - {""}
    text = (TESTS / "life/test_doctor_mends.py").read_text()
    [broken] = re.findall(r"^BROKEN = .*?in \((.*?)\)\}", text, re.DOTALL | re.MULTILINE)

    assert set(broken.replace(",", " ").split()) == rows
