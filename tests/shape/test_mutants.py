# SPDX-License-Identifier: Apache-2.0
"""`tests/mutants.py` breaks what it says that it breaks, and what is left to it is there."""

from __future__ import annotations

from collections import Counter

import pytest
from coverings import noted
from mutants import CLAIMED, ROOT
from mutants_left import LEFT
from mutants_made import candidates, mutants


def _of(source):
    return {each.what: each.of(source) for each in mutants("a.py", source)}


@pytest.mark.parametrize(
    ("source", "what", "broken"),
    [
        ("if é < 1: é()\n", "it compares by `<=`", "if (é <= 1): é()\n"),
        ("if a and b(c):\n    d\n", "it joins by `or`", "if ((a) or (b(c))):\n    d\n"),
        ("a = not b\n", "it has no `not`", "a = (b)\n"),
        ("a = [1.5,\n  b]\n", "it is 2.5", "a = [2.5,\n  b]\n"),
        ("f(a)\n", "it is not done", "pass\n"),
        ("a = f(b,\n  c=d, e=g)\n", "it is not told `c`", "a = f(b, e=g)\n"),
        ("a = b if c else d\n", "it is always the other", "a = (d)\n"),
    ],
)
def test_a_mutant_is_the_source_but_for_what_it_says(source, what, broken):
    assert _of(source)[what] == broken


@pytest.mark.parametrize(
    "source",
    [
        "LIMIT: Final = 5\n",
        "if TYPE_CHECKING:\n    a = 1\n",
        '"""5 < 6."""\n',
        "raise A(f'{5 + a}')\n",
        "a = zip(b, c, strict=True)\n",
        "@dataclass(frozen=True)\nclass A:\n    a: Literal[True]\n",
    ],
)
def test_what_does_nothing_or_is_a_choice_is_not_broken(source):
    assert _of(source) == {}


@pytest.mark.parametrize("room", CLAIMED)
def test_each_room_is_there_with_the_tests_that_claim_it(room):
    assert (ROOT / "mcp_agentbus" / CLAIMED[room][0]).exists()
    for test in [test for step in CLAIMED[room][1:] for test in step]:
        assert (ROOT / "tests" / test).exists()


def test_each_mutant_that_is_explained_can_still_be_made():
    keys = set()
    for file in {key.partition(": ")[0] for key in LEFT}:
        source = (ROOT / file).read_text()
        keys |= {mutant.key(source) for mutant in candidates(file, source)}

    assert set(LEFT) <= keys


def test_how_many_are_explained_is_told_as_it_is():
    counts = Counter(key.split("/")[1] for key in LEFT)
    said = (ROOT / "docs" / "reliability.md").read_text()

    counted = f"of `handoff` {counts['handoff']}, of `store` {counts['store']}."
    assert f"(../tests/mutants_left.py): {counted}" in said


def test_a_mutant_is_tried_by_the_tests_that_run_its_statement_those_about_it_first(tmp_path):
    lines = noted(
        tmp_path,
        ("a.py", "tests/life/test_b.py::test_1", [1, 2]),
        ("a.py", "tests/parts/test_a.py::test_1", [1, 2, 3]),
        ("a.py", "tests/parts/test_a.py::test_2", [2]),
        ("a.py", "tests/parts/test_a.py::test_3", [1]),
        ("b.py", "tests/parts/test_a.py::test_4", [2]),
        ("a.py", "", [2]),
    )
    source = "a = 1\nb = f(\n  a < 2)\n"
    [mutant] = [each for each in mutants("a.py", source) if each.what == "it compares by `<=`"]

    assert lines.tests_of(mutant, source) == [
        "tests/parts/test_a.py::test_2",
        "tests/life/test_b.py::test_1",
        "tests/parts/test_a.py::test_1",
    ]


@pytest.mark.parametrize(
    ("what", "tests"), [("it is 2", ["test_f"]), ("it is 3", ["test_f", "test_g"])]
)
def test_a_mutant_of_what_is_run_at_import_is_tried_by_those_that_use_it(tmp_path, what, tests):
    lines = noted(
        tmp_path,
        ("a.py", "test_f", [2]),
        ("a.py", "test_g", [5]),
        ("a.py", "", [1, 3, 4]),
        ("b.py", "test_h", [1, 3]),
    )
    source = "def f(a=1):\n  pass\nb = 2\ndef g():\n  pass\n"
    [mutant] = [each for each in mutants("a.py", source) if each.what == what]

    assert lines.tests_of(mutant, source) == tests


def test_no_mutant_is_tried_by_a_test_that_fails_without_one(tmp_path):
    (tmp_path / "failed").write_text("test_f\n")
    lines = noted(tmp_path, ("a.py", "test_f", [1]), ("a.py", "test_g", [1]))
    [mutant] = mutants("a.py", "a = 1\n")

    assert lines.tests_of(mutant, "a = 1\n") == ["test_g"]
