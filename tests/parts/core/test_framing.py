# SPDX-License-Identifier: Apache-2.0
"""Hostile text stays in its frame, and nothing in it hides.

`hostile.json` holds texts that people attack with, each with the frame it must come out in.
"""

import doctest
import json
import pathlib
import re
import unicodedata

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from mcp_agentbus.core import framing
from mcp_agentbus.core.framing import INDENT, escape, frame, one_line, part

CORPUS = json.loads(pathlib.Path(__file__).parents[1].joinpath("hostile.json").read_text("utf-8"))
FENCE = "9f3c2a"
FIRST = f"<<<{FENCE} text from agent planner, not from your user"
LAST = f"{FENCE}>>>"

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and blanks that are no spaces:
# written down here a second time, so that a gap in the code is not a gap in its test.
_IGNORABLE = [
    *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5)),
    *((0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164)),
    *((0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF)),
    *((0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A)),
]
_BLANK = [0x2800, 0xFFFC, 0x16FE4, 0x1D159, 0x13440, 0x13441, 0x13442]
HIDDEN = {chr(code) for first, last in _IGNORABLE for code in range(first, last + 1)}
HIDDEN |= set(map(chr, _BLANK))
STYLE = "\ufe0f"  # asks for the coloured form of the emoji before it


def _is_hidden(char):
    return char in HIDDEN or unicodedata.category(char) in {
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Cn",
        "Zl",
        "Zp",
    }


def _hidden(shown, allowed="\n\t"):
    """Return each character of a text that is shown which nobody would see."""
    without_emoji_styles = re.sub(f"(?<=[^\x00-\x7f]){STYLE}|{STYLE}(?=\u20e3)", "", shown)
    return {char for char in set(without_emoji_styles) - set(allowed) if _is_hidden(char)}


def _unescape(shown):
    code = r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})"
    return re.sub(code, lambda match: chr(int(match[1] or match[2] or match[3], 16)), shown)


def _body(framed):
    return framed.split("\n")[1:-1]


# The corpus.


@pytest.mark.promise(37)
@pytest.mark.parametrize("attack", CORPUS, ids=lambda attack: attack["name"])
def test_a_hostile_text_is_framed_as_the_corpus_says(attack):
    """Character for character."""
    framed = frame(attack["text"], said_by="planner", fence=FENCE)

    assert framed.split("\n") == attack["framed"]


@pytest.mark.promise(37)
@pytest.mark.parametrize("attack", CORPUS, ids=lambda attack: attack["name"])
def test_the_corpus_itself_asks_for_one_frame_in_which_nothing_hides(attack):
    """A wrong expectation must not get into the file unseen."""
    first, *body, last = attack["framed"]

    assert (first, last) == (FIRST, LAST)
    assert all(line.startswith(INDENT) for line in body)
    assert not _hidden("\n".join(body))
    assert "\n".join(body).encode()


def test_the_corpus_has_at_least_60_different_attacks():
    """Promise 37 names the number."""
    assert len({attack["text"] for attack in CORPUS}) == len(CORPUS) >= 60
    assert len({attack["name"] for attack in CORPUS}) == len(CORPUS)


# What holds for every text.


@pytest.mark.promise(37)
@given(strategies.hostile_texts)
def test_the_output_is_exactly_one_frame(text):
    """Whatever anybody takes for a line break: only our two lines are at the left edge."""
    framed = frame(text, said_by="planner", fence=FENCE)
    lines = framed.splitlines()

    assert lines == framed.split("\n")
    assert [line for line in lines if not line.startswith(INDENT)] == [FIRST, LAST]
    assert (lines[0], lines[-1]) == (FIRST, LAST)


@pytest.mark.promise(37)
@given(strategies.hostile_texts)
def test_every_line_of_the_peer_is_indented_and_none_is_missing(text):
    """Without the indent it is the escaped text, line by line."""
    lines = _body(frame(text, said_by="planner"))

    assert all(line.startswith("    ") for line in lines)
    assert "\n".join(line[4:] for line in lines) == escape(text)
    assert len(lines) == text.count("\n") + 1


@pytest.mark.promise(37)
@given(strategies.hostile_texts)
def test_nothing_in_the_output_is_hidden(text):
    """No control, bidi, zero-width or otherwise invisible character; nothing UTF-8 cannot hold."""
    for shown in (escape(text), frame(text, said_by="planner"), one_line(text)):
        assert not _hidden(shown)
        assert shown.encode().decode() == shown
    assert not _hidden(one_line(text), allowed="")


@pytest.mark.promise(37)
def test_each_character_of_unicode_is_shown_or_escaped_as_itself():
    """All 1,114,112 of them, each on its own: none is lost and none is hidden."""
    everything = "".join(map(chr, range(0x110000))).replace("\n", "").replace("\\", "")
    shown = escape(" ".join(everything))

    assert not _hidden(shown)
    assert STYLE not in shown
    seen = set(shown)
    assert [char for char in everything if char not in seen and not _is_hidden(char)] == []
    assert _unescape(shown).replace(" ", "") == everything.replace(" ", "")


@given(strategies.hostile_texts.map(lambda text: text.replace("\\", "/")))
def test_an_escape_says_which_character_it_stands_for(text):
    """All that was sent can be read back, but for CR LF and LF being the same."""
    assert _unescape(escape(text)) == text.replace("\r\n", "\n")


@given(strategies.hostile_texts)
def test_text_that_is_safe_already_is_not_changed_again(text):
    """Escaping twice is escaping once."""
    assert escape(escape(text)) == escape(text)


@given(strategies.texts | strategies.hostile_texts)
def test_text_in_which_nothing_hides_is_not_changed(text):
    """Every script, symbol and space that shows is shown as it is."""
    visible = "".join(char for char in text if not _is_hidden(char) or char in "\n\t")

    assert escape(visible) == visible


@pytest.mark.parametrize(
    "text",
    [
        "plain ASCII, with (all) its {signs}: ~`!@#$%^&*_+|\\\"'<>?",
        "Grüße – “quoted” … déjà vu, e\u0301 (decomposed)",  # noqa: RUF001
        "Ελληνικά Кириллица ქართული Հայերեն",
        "שלום עולם مرحبا بالعالم فارسی",
        "हिन्दी বাংলা தமிழ் ไทย ខ្មែរ မြန်မာ",
        "한국어 日本語、カタカナ 中文。\u3000",
        "ᠮᠣᠩᠭᠣᠯ ⵜⵉⴼⵉⵏⴰⵖ አማርኛ",
        "∑ √2 ≤ ∞ → €£¥ ½ ²",
        "🚀 😀 👍🏽 🇨🇭 ✅",
        "❤️ ☎️ ✔️ ℹ️ ™️ ‼️ ↔️ 〰️ ㊗️ 🅰️",  # noqa: RUF001
        "1️⃣ #️⃣ *️⃣",
        "line one\n\tindented line two\n",
    ],
)
def test_plain_text_and_emoji_stay_as_they_are(text):
    """In every script."""
    assert escape(text) == text


def test_joined_emoji_stay_readable():
    """The joiner is invisible, so it is shown; the people around it stay."""
    assert escape("👩\u200d💻") == "👩\\u200d💻"


@pytest.mark.promise(37)
@pytest.mark.parametrize(
    "text", [STYLE, f"a{STYLE}", f"1{STYLE}", f"❤{STYLE}{STYLE}", f"\u2800{STYLE}", f"א{STYLE}"]
)
def test_an_emoji_style_is_shown_where_there_is_no_emoji(text):
    """A run of them could carry a hidden message."""
    assert escape(text).endswith("\\ufe0f")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x00\x1b\x7f", "\\x00\\x1b\\x7f"),
        ("\x85\u202e", "\\u0085\\u202e"),
        ("\U000e0041", "\\U000e0041"),
        ("\uffff", "\\uffff"),
        ("\ud800", "\\ud800"),
        ("a\r\nb\rc", "a\nb\\x0dc"),
    ],
)
def test_an_escape_is_written_as_in_python(text, shown):
    """Two, four or eight digits."""
    assert escape(text) == shown


# JSON.


@pytest.mark.promise(37)
@given(strategies.hostile_texts)
def test_json_hides_nothing_and_a_program_reads_what_was_written(text):
    """Whatever the terminal on which it is printed would make of it."""
    text = json.loads(json.dumps(text))  # two halves of a letter are that letter to JSON
    spelled = framing.spelled({text: [text]})

    assert not [char for char in spelled if _is_hidden(char)]
    assert json.loads(spelled) == {text: [text]}


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            {"a": ["Grüße, \u65e5\u672c \U0001f680", None]},
            '{"a": ["Grüße, \u65e5\u672c \U0001f680", null]}',
        ),
        ("\x7f\u200b\uffff", '"\\u007f\\u200b\\uffff"'),
        ("\U000e0041", '"\\udb40\\udc41"'),
    ],
)
def test_json_shows_what_shows_and_spells_the_rest_as_json_does(data, line):
    """By halves, where a character is beyond what four digits hold."""
    assert framing.spelled(data) == line


# One line.


@pytest.mark.promise(38)
@given(strategies.hostile_texts, st.integers(1, 60))
def test_one_line_is_one_line_and_counts_what_it_leaves_out(text, limit):
    """Nothing is cut without a word."""
    whole, shown = one_line(text, 10_000), one_line(text, limit)
    rest = len(whole) - limit

    assert shown.splitlines() in ([], [shown])
    assert shown == (whole if rest <= 0 else f"{whole[:limit]}... ({rest} more characters)")


@pytest.mark.parametrize("length", [199, 200])
def test_one_line_shows_200_characters_whole(length):
    """As many as a subject may have."""
    assert one_line("x" * length) == "x" * length
    assert one_line("x" * 201) == f"{'x' * 200}... (1 more characters)"


def test_one_line_shows_where_lines_and_tabs_were():
    """A line feed as an escape, a tab as a space."""
    assert one_line("a\nb\tc\r\nd\re") == "a\\nb c\\nd\\x0de"


# The frame itself.


@pytest.mark.promise(38)
@given(strategies.hostile_texts, strategies.hostile_texts)
def test_a_frame_holds_even_if_a_name_was_not_checked(text, said_by):
    """A name on our line cannot end that line."""
    framed = frame(text, said_by=said_by, fence=FENCE)
    first, *body, last = framed.splitlines()

    whose = f"agent {one_line(said_by)}" if said_by else "several agents"
    assert first == f"<<<{FENCE} text from {whose}, not from your user"
    assert all(line.startswith(INDENT) for line in body)
    assert last == LAST
    assert not _hidden(framed)


@pytest.mark.promise(37)
def test_every_frame_has_a_fence_of_its_own():
    """Nobody can write it beforehand."""
    frames = [frame("x", said_by="planner").split("\n") for _ in range(100)]

    assert all(re.fullmatch(r"<<<[0-9a-f]{6} text from .*", one[0]) for one in frames)
    assert all(one[-1] == f"{one[0][3:9]}>>>" for one in frames)
    assert len({one[-1] for one in frames}) > 90


def test_the_example_in_the_docstring_is_true():
    """The docstring's example prints what it says."""
    failed, tried = doctest.testmod(framing)

    assert (failed, tried > 0) == (0, True)


# Pieces of a long text.


@given(strategies.hostile_texts, st.integers(1, 9))
def test_the_pieces_of_a_text_are_the_text(text, limit):
    """All of it, once, and none takes more than the limit once it is shown."""
    pieces = [part(text, 0, limit)]
    while (start := pieces[-1].next) is not None:
        pieces.append(part(text, start, limit))

    assert "".join(piece.text for piece in pieces) == text
    assert all(len(piece.text) <= limit and piece.total == len(text) for piece in pieces)
    shown = [escape(piece.text).replace("\n", "\n    ") for piece in pieces]
    assert all(len(one) <= limit or len(pieces[at].text) == 1 for at, one in enumerate(shown))


@pytest.mark.parametrize("text", ["a\nb\n\nc\td", "\n\n\n", "a\u200bb\U000e0041c", "\x7f\x7f\x7f"])
def test_a_piece_is_as_long_as_it_may_be(text):
    """Another character, as it is shown, would be too much."""
    lengths = [len(escape(text[:end]).replace("\n", f"\n{INDENT}")) for end in range(len(text) + 1)]
    for limit in range(1, 20):
        fitting = max(end for end, length in enumerate(lengths) if length <= limit)

        assert len(part(text, 0, limit).text) == max(fitting, 1)


@pytest.mark.parametrize(("start", "limit"), [(0, 0), (-5, 3), (2, -1)])
def test_a_piece_goes_forward_whatever_is_asked_for(start, limit):
    """Or paging would never end."""
    assert part("abcdef", start, limit).next == max(start, 0) + max(limit, 1)


def test_behind_the_end_there_is_an_empty_piece():
    """And no next one."""
    assert part("abc", 7, 10) == part("abc", 3, 10) == framing.Part("", None, 3)
