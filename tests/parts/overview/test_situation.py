# SPDX-License-Identifier: Apache-2.0
"""What goes on, as the archive alone tells it, and how much of it is beside what is shown."""

from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from local_server import settings_at
from situations import NOW, before, entry, past

from mcp_agentbus.archive import board
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.history import Current
from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.core import locks
from mcp_agentbus.overview import document, screen, situation
from mcp_agentbus.overview.by_lane import Rests
from mcp_agentbus.overview.known import Known
from mcp_agentbus.overview.listener import Listener
from mcp_agentbus.overview.on_bus import OnBus
from mcp_agentbus.store.queues import Lane
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.task import Task


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


@pytest.mark.parametrize(
    ("url", "is_held", "is_there"),
    [(None, False, False), (None, True, True), ("nats://h:1", False, True)],
    ids=["stopped", "halted", "shared"],
)
def test_a_server_that_holds_its_lock_and_one_elsewhere_may_run_though_it_is_not_reached(
    tmp_path, url, is_held, is_there
):
    settings = replace(settings_at(tmp_path), url=url)
    with ExitStack() as stack:
        if is_held:
            lock = embedded.Files(settings.data_dir).lock
            stack.enter_context(locks.held(lock, wait=False))

        assert situation._may_run(settings) is is_there


def urgent(number, expect):
    """What its sender's record says of a high task, or a word; the lower the number the older."""
    at = before(minutes=10 - number)
    values = {"subject": "Count", "priority": "high", "created_at": at, "expect": expect}
    return Change("planner", "coder", f"{number:032x}", at, number + 1, "sent_seq", values)


def of_stranger(number, expect):
    """The same as it lies on the bus, of another producer."""
    return Task(
        id=f"{number:032x}", sender="stranger", to="coder", subject="Count", body="", thread_id="t",
        priority="high", expect=expect, created_at=before(minutes=10 - number), expires_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize("by_record", [True, False])
async def test_a_word_needs_nobody_and_hides_no_task_that_does(monkeypatch, by_record):
    kinds = ["nothing", "answer", "nothing"]
    there = dict(enumerate(kinds)).items()
    lanes = {}
    with Archive(None, Keeps()) as archive:
        if by_record:
            changes = [urgent(*each) for each in there]
            archive.note(changes, Reached("agentbus.*.*.*.*", 1, 4), of="made")
        else:
            lanes["coder", "high"] = Lane(3, tasks={n: of_stranger(n, kind) for n, kind in there})
        here = Known(
            settings_at("/nowhere"), NOW, Current(archive, Extent()), Listener(),
            OnBus({"coder": entry()}), resting=board.resting(archive, NOW), lanes=lanes,
        )  # fmt: skip

        @asynccontextmanager
        async def known(*_):
            yield here

        monkeypatch.setattr(situation, "known", known)
        now = await situation.look(here.settings)

    assert [(need.about, need.what, need.command) for need in now.needs] == [
        (f"{1:032x}", "is high and wakes nobody: no listener runs", "agentbus listen")
    ]
    assert [(some.count, some.oldest.expect) for some in now.waits] == [
        (1, "answer"), (2, "nothing")
    ]  # fmt: skip
    [agent] = now.agents
    assert agent.waiting == {"high": 3}


@pytest.mark.parametrize(
    ("away", "said"),
    [
        (["coder"], "is high and wakes nobody: nothing starts coder"),
        (["coder", "shop"], "and 1 more are high and wake nobody: nothing starts coder or shop"),
        (
            ["coder", "shop", "api", "web", "ops"],
            "and 4 more are high and wake nobody: nothing starts coder, shop, api or 2 more",
        ),
    ],
)
def test_what_nothing_starts_is_one_need_with_what_is_typed_first(away, said):
    entries = {name: Entry(name, "offline", before(days=3)) for name in away}
    waits = [
        Rests(
            name,
            "high",
            False,
            1,
            past(inbox=name, priority="high", created_at=before(minutes=9 - n)),
        )
        for n, name in enumerate(away)
    ]
    with Archive(None, Keeps()) as archive:
        here = Known(
            settings_at("/nowhere"), NOW, Current(archive, Extent()),
            Listener("runs", "", {"agents": []}), OnBus(entries),
        )  # fmt: skip
        [need] = situation._unwoken(here, waits)

    assert need.what == said
    assert need.command == "agentbus agent add coder --host HOST --dir FOLDER"
