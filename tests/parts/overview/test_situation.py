# SPDX-License-Identifier: Apache-2.0
"""What goes on, as the archive alone tells it, and how much of it is beside what is shown."""

from local_server import settings_at
from situations import before

from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.overview import document, screen, situation


def over(number, state, inbox):
    """What a record says of a task that ended so."""
    at = before(minutes=number)
    values = {"subject": "Count", "state": state, "created_at": at, "updated_at": at}
    return Change("planner", inbox, f"{number:032x}", at, number + 1, "record_seq", values)


async def test_what_is_not_shown_is_counted_all_the_same(tmp_path):
    settings = settings_at(tmp_path)
    ended = [over(n, "completed", "coder") for n in range(11)]
    parked = [over(100 + n, "parked", f"agent-{n % 35:02}") for n in range(70)]
    settings.archive_file.parent.mkdir(parents=True, exist_ok=True)
    with Archive(settings.archive_file, Keeps()) as archive:
        archive.note([*ended, *parked], Reached("agentbus.*.*.*.*", 1, 200), of="made")

    now = await situation.look(settings)
    shown = screen.screen(now)

    assert {need.what for need in now.needs} == {"2 tasks set aside"}
    assert (len(now.needs), document.of_situation(now)["needing"]) == (30, 35)
    assert "NEEDS YOU: 35 \u00b7 all: agentbus tasks --all --open\n" in shown
    assert len(now.ended) == 10
    assert "OVER \u00b7 all: agentbus tasks --all\n" in shown
