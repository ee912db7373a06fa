# SPDX-License-Identifier: Apache-2.0
"""Every promise has a test that names it, and no test names one that there is not.

Whether a test proves what it names, whoever reads both decides.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from promises import PROMISES

TESTS = Path(__file__).parents[1]


@cache
def _proved() -> dict[int, list[str]]:
    """Return the tests that prove each number."""
    proved: dict[int, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        if "pytest.mark.promise(" not in (text := path.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.promise":
                    proved.setdefault(ast.literal_eval(mark.args[0]), []).append(node.name)
    return proved


@pytest.mark.parametrize("number", sorted(PROMISES))
def test_every_promise_has_a_test_that_names_it(number):
    assert _proved().get(number)


def test_no_test_names_a_promise_that_nobody_made():
    assert set(_proved()) - set(PROMISES) == set()
