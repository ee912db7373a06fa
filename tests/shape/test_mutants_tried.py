# SPDX-License-Identifier: Apache-2.0
"""`tests/support/breaking.py` breaks the functions of a run that goes on, and leaves no trace."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict

import breaking
import pytest
from coverings import noted
from mutants import ROOT
from mutants_made import mutants

SOURCE = """
def least(a, b=0):
    return a if a < b else b

def most(a, b):
    return a if a > b else b
"""
TESTS = """
from mcp_agentbus.a import least, most

def test_least():
    assert least(1, 2) == 1
    assert least(1) == 0

def test_most():
    most(2, 1)

seen = []

def test_first():
    seen.append(1)

def test_after_the_first():
    assert seen
    most(2, 1)
"""


@pytest.mark.parametrize(
    ("source", "broken", "changed"),
    [
        ("def f():\n  return 1\n", "def f():\n  return 2\n", ["f"]),
        (
            "class A:\n  def f():\n    return lambda: 1\n",
            "class A:\n  def f():\n    return lambda: 2\n",
            ["A.f"],
        ),
        ("def f(a=1):\n  pass\n", "def f(a=2):\n  pass\n", None),
        ("class A:\n  b = 1\n", "class A:\n  b = 2\n", None),
    ],
)
def test_a_break_is_of_functions_or_of_what_is_run_as_the_file_is_read(
    tmp_path, source, broken, changed
):
    file = tmp_path / "a.py"
    file.write_text(source)
    found = breaking.changes(file, broken)

    assert (found and [code.co_qualname for code, _ in found]) == changed


@pytest.fixture
def tree(tmp_path):
    """A project of one file and two tests, with what breaks it, and a note of who runs what."""
    for name in (
        "tests/mutants.py",
        "tests/mutants_left.py",
        "tests/mutants_made.py",
        "tests/support/breaking.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "tests/support/guard.py", tmp_path / "tests/support/guard.py")
    (tmp_path / "mcp_agentbus").mkdir()
    (tmp_path / "mcp_agentbus/a.py").write_text(SOURCE)
    (tmp_path / "tests/test_a.py").write_text(TESTS)
    (tmp_path / "lines").mkdir()
    rows = [("test_least", [3]), ("test_most", [6]), ("test_after_the_first", [6])]
    noted(
        tmp_path / "lines",
        *(("mcp_agentbus/a.py", f"tests/test_a.py::{test}", lines) for test, lines in rows),
    )
    return tmp_path


def test_each_mutant_is_tried_by_itself_and_the_file_is_as_it_was(tree):
    chosen = [asdict(each) for each in mutants("mcp_agentbus/a.py", SOURCE)]
    (tree / "jobs.json").write_text(json.dumps({"lines": "lines", "mutants": chosen}))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "breaking", "tests"], cwd=tree,
        env={"BREAKING": "jobs.json", "PYTHONPATH": ".:tests:tests/support", "HOME": str(tree)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]

    assert [each["mutant"] for each in told] == chosen, ran.stdout
    noticed = {
        (each["mutant"]["line"], each["mutant"]["what"]): each["noticed_by"] for each in told
    }
    least = "tests/test_a.py::test_least"
    assert noticed == {
        (2, "it is 1"): breaking.ALONE,
        (3, "it compares by `<=`"): None,
        (3, "it is always the other"): least,
        (6, "it compares by `>=`"): None,
        (6, "it is always the other"): None,
    }
    assert (tree / "mcp_agentbus/a.py").read_text() == SOURCE
