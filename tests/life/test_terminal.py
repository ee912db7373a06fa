# SPDX-License-Identifier: Apache-2.0
"""What a person reads in a terminal: at any width no word is cut, and a frame stays a frame."""

import fcntl
import os
import pty
import re
import struct
import termios

import forking
import pytest
import pytest_asyncio
import served

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster
from mcp_agentbus.version import __version__

WIDTHS = (60, 80, 200)
LONG = "tests " * 15 + "of the shop"
EVIL = "a" * 300 + "Inbox of coder: ok, nothing new."


def printed(home, width, *argv):
    """Return the lines that a command shows in a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with forking.start(
        [*served.AGENTBUS, *argv], env=served.environ(home), stdout=theirs, stderr=theirs
    ):
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65_536):
                shown += piece
        except OSError:  # the end of a terminal
            pass
    os.close(ours)
    shown = re.sub(rb"\x1b\[[0-9;]*m", b"", shown)  # colours are as wide as nothing
    return shown.decode().replace("\r\n", "\n").rstrip("\n").split("\n")


def unfenced(text):
    """Return a text with F for the random words around its frames."""
    return re.sub(
        r"<<<[0-9a-f]{6}|[0-9a-f]{6}>>>",
        lambda fence: fence[0].replace(fence[0].strip("<>"), "F"),
        text,
    )


@pytest_asyncio.fixture
async def coder(world, home):
    """An agent with all that a roster shows, and a task of somebody who wants out of the frame."""
    me = world.name("coder")
    about = Agent(me, host="claude-code", description=LONG, roles=("review", "tests"))
    planner = await world.session("planner")
    await roster.register(world.bus, about, None)
    await send_task(planner, me, "Count", EVIL)
    return me


@pytest.mark.parametrize("width", WIDTHS)
async def test_no_word_of_a_table_is_cut_at_any_width(home, way, coder, width):
    folder = home.data_dir.parent
    whole = printed(folder, 4_000, "agents", coder)

    lines = printed(folder, width, "agents", coder)
    _, piped = await served.typed(folder, "agents", coder)

    assert max(map(len, lines)) <= width
    assert unfenced(" ".join(lines)).split() == unfenced(" ".join(whole)).split()
    at_the_edge = [line for line in lines if not line.startswith("  ")]
    begins = ["coder", "role:", "role:", "They ", "<<<F ", "F>>>"]
    assert [unfenced(line)[:5] for line in at_the_edge] == begins
    assert list(map(unfenced, piped.splitlines())) == list(map(unfenced, whole))


@pytest.mark.parametrize("width", WIDTHS)
async def test_alone_in_a_terminal_it_shows_on_one_screen_what_goes_on(home, way, coder, width):
    lines = printed(home.data_dir.parent, width)
    _, piped = await served.typed(home.data_dir.parent)

    assert lines[0].startswith(f"agentbus {__version__} \u00b7 server runs")
    assert len(lines) < 24  # below it there is room for the prompt
    assert max(map(len, lines)) <= width
    assert sum(line.startswith(("AGENTS: ", "WAITING: ")) for line in lines) == 2
    assert "agentbus why ID" in " ".join(lines)
    assert piped.startswith("usage: agentbus")


@pytest.mark.parametrize("argv", [("listen", "--status"), ("agent", "list"), ("doctor",)])
async def test_what_is_said_of_this_machine_fits_a_narrow_terminal(home, way, argv):
    folder = home.data_dir.parent
    words = " ".join(printed(folder, 4_000, *argv)).split()
    # A path or a URL is no word to be cut: it stands on a line of its own.
    lines = printed(folder, 60, *argv)

    assert all(len(line) <= 60 or len(line.split()) == 1 for line in lines), lines
    assert argv == ("doctor",) or " ".join(lines).split() == words


async def test_a_peers_line_never_begins_where_ours_do(home, way, coder):
    lines = printed(home.data_dir.parent, 60, "inbox", "--full", "--agent", coder)

    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("Inbox of") for line in lines) == 1
    assert any(line.startswith("    ") and "aaaa" in line for line in lines)
    assert not any(line.startswith("aaaa") for line in lines)
