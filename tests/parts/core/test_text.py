# SPDX-License-Identifier: Apache-2.0
"""Durations and moments as people write them."""

import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from mcp_agentbus.core import text
from mcp_agentbus.core.feather import printer


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("0.05", 0.05),
        ("90s", 90),
        ("90m", 5_400),
        ("1.5h", 5_400),
        ("1h30m", 5_400),
        (" 2D ", 172_800),
        ("1w", 604_800),
    ],
)
def test_a_duration_is_read_with_and_without_units(written, seconds):
    assert text.seconds(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "nan", "inf", "-1", "-1h", "1e3", "2 d", "d", "1x", "1h2", "h1", "1:30", "²", "1" * 30],
)
def test_what_is_no_duration_is_refused_with_some_that_are(written):
    with pytest.raises(ValueError, match="is no duration: 90, 90s, 15m, 2h, 3d"):
        text.seconds(written)


def test_a_duration_out_of_its_limits_is_refused_with_them():
    with pytest.raises(ValueError, match=r"'8d' is not from 1s to 7d"):
        text.seconds("8d", 1, 7 * 86_400)


@pytest.mark.parametrize(
    ("length", "said"), [(0, "0"), (1, "1s"), (90, "90s"), (3_600, "1h"), (5_400, "90m")]
)
def test_a_duration_is_said_as_it_is_read(length, said):
    assert text.duration(length) == said
    assert text.seconds(said) == length


@pytest.mark.parametrize(
    ("count", "said", "grouped"),
    [
        (0, "0 tasks", "0 tasks"),
        (1, "1 task", "1 task"),
        (2, "2 tasks", "2 tasks"),
        (1204, "1204 tasks", "1,204 tasks"),
    ],
)
def test_a_number_of_things_is_said_as_one_or_as_several(count, said, grouped):
    assert text.many(count, "task") == said
    assert text.many(count, "task", grouped=True) == grouped


def test_a_moment_is_how_long_ago_it_was_or_a_time():
    current = datetime(2026, 5, 18, 12, tzinfo=UTC)

    assert text.moment(text.since("2h"), current) == current - timedelta(hours=2)
    assert text.moment(text.since("2026-05-18T10:00Z"), current) == current - timedelta(hours=2)
    assert text.since("2026-05-18T10:00Z") == (
        datetime.fromisoformat("2026-05-18T10:00+00:00").astimezone().isoformat()
    )


@pytest.mark.parametrize("written", ["20260518", " 20260518 ", "20260518T000000"])
def test_eight_digits_that_are_a_date_are_no_number_of_seconds(written):
    """They were an age of 234 days, and all of that time was told."""
    assert datetime.fromisoformat(text.since(written)).date() == date(2026, 5, 18)
    ago = text.now() - text.moment(text.since("20261599"), text.now())
    assert ago > timedelta(days=234)


@pytest.mark.parametrize("written", ["", "5x", "9999-01-01", "99990101", "999999999d", "tomorrow"])
def test_what_is_no_moment_that_has_passed_is_refused(written):
    with pytest.raises(ValueError, match="is no time that has passed"):
        text.since(written)


LINE = "coder: offline, last seen 2026-11-26 21:40:18Z · hosts: shell · says: counts the tests "


@pytest.mark.parametrize("width", [20, 60, 80, 200])
@pytest.mark.parametrize("line", [LINE, LINE.replace("e", "é"), f"id   {'項目 ' * 40}", "x " * 300])
def test_a_line_is_folded_between_its_words_and_no_wider_than_the_terminal(line, width):
    lines = text.folded(line, width, "  ").split("\n")

    assert " ".join(lines).split() == line.split()
    assert all(sum(1 + (letter > "\u2e7f") for letter in one) <= width for one in lines)
    assert all(one.startswith("  ") and one.strip() for one in lines[1:])
    assert (len(lines) == 1) is (len(line) + line.count("項") + line.count("目") <= width)


def test_a_word_that_is_wider_stands_on_a_line_of_its_own_unless_it_may_be_cut():
    word = "9d0c" * 10

    assert text.folded(f"task {word} is stored", 30, "  ").split("\n") == [
        "task",
        f"  {word}",
        "  is stored",
    ]
    assert text.folded(word, 30, "  ", cut=True).split("\n") == [word[:30], f"  {word[30:]}"]


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize(
    "before", [" " * 19, " " * 76, " " * 400, "\t" * 9, "a\t" * 20, "    \t項\t"]
)
def test_a_line_that_may_be_cut_is_no_wider_whatever_it_begins_with(before, width):
    line = f"{before}task {'9d0c' * 30} is stored"
    indent = before[: len(before) - len(before.lstrip(" "))]

    lines = text.folded(line, width, indent, cut=True).split("\n")

    assert "".join("".join(lines).split()) == "".join(line.split())
    assert all(sum(1 + (letter > "\u2e7f") for letter in one) <= width for one in lines)
    assert not any("\t" in one for one in lines)
    assert all(one.startswith(indent[: width // 2]) for one in lines)


def test_a_tab_is_as_wide_as_it_is_seen():
    assert text.cut("\t\tcoder", 18) == f"{' ' * 16}c\u2026"
    assert text.folded("a\tb", 20) == "a       b"


def test_colours_take_no_room():
    line = f"\x1b[32mok\x1b[0m  {'word ' * 5}x"

    assert text.folded(line, len("ok  ") + 26) == line


@pytest.mark.parametrize("width", [0, 7])
def test_where_nobody_looks_or_the_terminal_is_tiny_a_line_stays_whole(width):
    assert text.folded(LINE, width, "  ") == LINE


@pytest.mark.parametrize(("given", "columns"), [("60", 60), ("0", 0), ("", 0), ("x", 0), ("-5", 0)])
def test_columns_says_how_wide_a_pipe_is_shown(monkeypatch, given, columns):
    monkeypatch.setenv("COLUMNS", given)
    with Path(os.devnull).open("w") as no_terminal:
        assert printer.columns(no_terminal.fileno()) == columns


def test_json_is_read_with_numbers_that_can_be_made_of_either_kind():
    assert text.from_json(b'\xef\xbb\xbf{"a": [1, -2.5e3, true, null, "\\u00e9"]}') == {
        "a": [1, -2500.0, True, None, "\u00e9"]
    }
    assert float(text.from_json("9" * 300)) > 0


@pytest.mark.parametrize(
    "written",
    [
        "", "{", "NaN", "[-Infinity]", "1e999", "-1e999", "9" * 301, "9" * 5_000, "[" * 100_000,
        '{"a":' * 100_000, b"\xff", "\ufeff1",
    ],
    ids=lambda written: str(written[:12]),
)  # fmt: skip
def test_what_is_no_json_or_has_no_end_is_one_error_whatever_it_is(written):
    with pytest.raises(ValueError, match=r"."):
        text.from_json(written)


@pytest.mark.parametrize(("day", "hour"), [(29, 23), (28, 23), (30, 22)])
def test_midnight_is_that_of_the_clock_that_was_valid_then(monkeypatch, day, hour):
    """In Berlin clocks went forward on the morning of the 29th of March 2026."""
    try:
        with monkeypatch.context() as changed:
            changed.setenv("TZ", "Europe/Berlin")
            time.tzset()
            began = text.midnight(datetime(2026, 3, day, 12, tzinfo=UTC))
    finally:
        time.tzset()

    assert began == datetime(2026, 3, day - 1, hour, tzinfo=UTC)
