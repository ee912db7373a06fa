# SPDX-License-Identifier: Apache-2.0
"""What goes over the socket for a command: any words there and back, and nothing but whole frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_agentbus.core.feather import ancestors
from mcp_agentbus.relay.carried import words
from mcp_agentbus.relay.carried.words import Typed

# As the system gives them: no zero, and half surrogate pairs for bytes that are no UTF-8.
WORD = st.text(st.characters(exclude_characters="\0"))
FRAME = st.tuples(st.sampled_from(["say", "tell", "complain", "changed", "go"]), st.text())


@st.composite
def typed(draw):
    """Anything that can be typed, anywhere."""
    names = WORD.filter(lambda word: "=" not in word)
    return Typed(
        draw(st.lists(WORD)), draw(WORD), draw(st.dictionaries(names, WORD)),
        request_id=draw(WORD), terminal=draw(st.lists(st.integers(0, 999), min_size=3, max_size=3)),
        zone=draw(WORD), is_hosted=draw(st.booleans()),
    )  # fmt: skip


@given(typed())
def test_any_words_arrive_as_they_were_typed(sent):
    assert vars(Typed.unpack(sent.pack())) == vars(sent)


def test_what_a_process_says_first_is_a_line_and_then_what_was_typed():
    """Of whatever is not known of it, the field is empty or 0."""
    packed = Typed(["task", "1a2b"], "/work", {"HOME": "/me"}).pack()

    assert packed == b"wtask\0w1a2b\0eHOME=/me\0f/work\0r\0z\0h0\0t0\0t0\0t0"
    assert words.request("1.2.0", packed) == (
        b'{"op":"typed","version":"1.2.0","size":%d}\n' % len(packed) + packed
    )


@pytest.mark.parametrize(
    ("environ", "zone"),
    [({}, ""), ({"TZ": ""}, "UTC"), ({"TZ": ":Europe/Berlin"}, ":Europe/Berlin")],
)
def test_a_zone_that_is_not_set_is_nothing_as_earlier_versions_have_it(environ, zone):
    assert words.zone(environ) == zone


@pytest.mark.parametrize(
    "packed", [b"", b"w", b"f/\0r\0z\0h0", b"f/\0r\0z\0h0\0t1\0t2\0tx", b"\xff", b"q"]
)
def test_what_lacks_something_is_no_command(packed):
    with pytest.raises(ValueError, match=r"\w"):
        Typed.unpack(packed)


@given(st.lists(FRAME), st.integers(0, 255), st.integers(1, 9))
def test_frames_arrive_whole_however_they_are_cut(said, code, size):
    sent = b"".join(words.frame(*one) for one in said) + words.frame("end", code)
    pieces = iter([sent[at : at + size] for at in range(0, len(sent), size)])

    assert list(words.frames(lambda: next(pieces, b""))) == [*said, ("end", code)]


@given(st.lists(FRAME, min_size=1), st.data())
def test_a_frame_that_is_cut_off_is_none(said, data):
    sent = b"".join(words.frame(*one) for one in said)
    last = len(words.frame(*said[-1]))
    cut = data.draw(st.integers(1, last))
    pieces = iter([sent[:-cut]])

    assert list(words.frames(lambda: next(pieces, b""))) == said[:-1]


@pytest.mark.parametrize(
    "come", [b'{"error":"The listener knows no such question."}\n', b"\n", b"x" * 100, b"say -1\n"]
)
def test_another_versions_answer_is_no_frame(come):
    pieces = iter([come])
    with pytest.raises(ValueError, match=r"\w"):
        list(words.frames(lambda: next(pieces, b"")))


def test_a_servers_token_is_told_to_nobody():
    environ = {"AGENTBUS_TOKEN": "secret", "AGENTBUS_HOST": "codex", "PATH": "/bin"}

    assert words.variables(environ) == {"AGENTBUS_HOST": "codex"}


def test_of_several_hosts_around_it_the_nearest_is_told(monkeypatch):
    """Only here can be seen whose child this process is."""
    environ = {"CLAUDECODE": "1", "OPENCLAW_SHELL": "1"}
    monkeypatch.setattr(ancestors, "ancestors", lambda: iter([{"bash"}, {"openclaw"}, {"claude"}]))

    assert words.variables(environ) == {**environ, "AGENTBUS_HOST": "openclaw"}
