# SPDX-License-Identifier: Apache-2.0
"""Whichever tool a session calls next, what it was shown before has arrived."""

import asyncio
import re

import pytest

from mcp_agentbus.bus import budget
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff.inbox import FILL
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.store.records import read_record, read_sent
from mcp_agentbus.tools import commands
from mcp_agentbus.tools.catalog import TOOLS
from mcp_agentbus.tools.typed_command import Command

CALLS = {
    "list_agents": {},
    "send_task": {"to": "planner", "subject": "More", "body": "x"},
    "publish_result": {"task_id": "other", "status": "working"},
    "read_inbox": {"task_id": "task"},
}


async def _no_progress(*_):
    pass


async def call(session, tool, **arguments):
    """Call a tool as a client does that waits for its answer."""
    this = session.calls.begin()
    answer = await TOOLS[tool].run(session, arguments, _no_progress, call=this)
    this.answered()
    return answer


async def sent(world, **options):
    """Return the sessions of sender and addressee, and the id of a task between them."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Do it", "x", **options)
    return planner, coder, receipt.task_id


def arguments_of(tool, task_id, other, to):
    named = {"task": task_id, "other": other, "planner": to}
    return {name: named.get(value, value) for name, value in CALLS[tool].items()}


@pytest.mark.parametrize("tool", CALLS)
async def test_a_result_that_was_shown_counts_as_seen_at_the_next_call_of_any_tool(world, tool):
    planner, coder, task_id = await sent(world)
    [held] = await send_task(coder, planner.me.id, "Mine", "x")
    await publish_result(coder, task_id, "completed")
    await call(planner, "read_inbox")

    before, _ = await read_sent(world.bus, planner.me.id, coder.me.id, task_id)
    await call(planner, tool, **arguments_of(tool, task_id, held.task_id, coder.me.id))
    after, _ = await read_sent(world.bus, planner.me.id, coder.me.id, task_id)

    assert (before.seen_at, after.seen_at is not None) == (None, True)


async def test_a_word_that_was_shown_is_over_and_who_was_answered_is_at_work(world):
    planner, coder, task_id = await sent(world)
    await call(coder, "read_inbox")
    await publish_result(coder, task_id, "needs_input", summary="Which branch?")
    await publish_result(planner, task_id, "answered", body="main")
    [word] = await send_task(planner, coder.me.id, "By the way", "x", expect="nothing")
    assert "main" in (await call(coder, "read_inbox")).text
    await call(coder, "list_agents")

    async def state(task_id):
        return (await read_record(world.bus, planner.me.id, coder.me.id, task_id))[0].state

    assert [await state(each) for each in (word.task_id, task_id)] == ["completed", "working"]


async def typed(session, tool, task_id="", cursor="", **_):
    """Type what does the same as a call of a tool, for its agent."""
    lines = {
        "publish_result": f"result {task_id} completed",
        "read_inbox": "inbox",
        "watch_inbox": "watch --timeout 0",
    }
    line = f"task {task_id} --cursor {cursor}" if cursor else lines[tool]
    printed, args = [], parser().parse_args(line.split())
    args.body = ""
    naming = Naming(Asked(session.bus.settings, session.me.id))
    await commands.start(Command(args, naming, lambda text, _: printed.append(text), session.bus))
    return printed[0]


@pytest.mark.parametrize("how", ["one session", "one for each call", "a shell"])
@pytest.mark.parametrize("ends", ["read on", "said"])
async def test_a_word_is_over_once_its_end_was_read_or_its_reader_says_so(world, how, ends):
    planner, coder, task_id = await sent(world, expect="nothing")
    body = "".join(f"{number:08}" for number in range(4_000))
    [word] = await send_task(planner, coder.me.id, "By the way", body, expect="nothing")

    async def anew(tool, **arguments):
        if how == "a shell":
            return await typed(coder, tool, **arguments)
        if how == "one session":
            return (await call(coder, tool, **arguments)).text
        async with Session(world.bus, coder.me) as session:
            return (await call(session, tool, **arguments)).text

    async def states():
        places = [(planner.me.id, coder.me.id, each) for each in (task_id, word.task_id)]
        return [(await read_record(world.bus, *place))[0].state for place in places]

    shown = [await anew("read_inbox") for _ in range(3)]
    begun, page = await states(), shown[0]
    if ends == "said":
        await anew("publish_result", task_id=word.task_id, status="completed")
    while ends == "read on" and "00003999" not in page:
        cursor = re.search(rf"{word.task_id}.* (?:--)?cursor[ =']+(\d+)", page)[1]
        assert await states() == begun
        page = await anew("read_inbox", task_id=word.task_id, cursor=cursor)
    after = await anew("read_inbox")

    assert [f"Word {word.task_id}" in each for each in shown[:3]] == [True] * 3
    assert ["claimed now" in each for each in shown[:3]] == [True, False, False]
    assert ["over once its end was read" in each for each in shown[:3]] == [False, True, True]
    assert begun == ["completed", "claimed"]
    assert (await states(), "nothing new" in after) == (["completed", "completed"], True)


async def test_a_word_that_had_no_room_in_an_answer_goes_on_to_be_there(world):
    planner, coder, _ = await sent(world)
    for number in range(14):
        said = f"{number} {'x' * 1_990}"
        await send_task(planner, coder.me.id, "By the way", said, expect="nothing")
    began = (await call(coder, "read_inbox", limit=50)).text

    await call(coder, "list_agents")

    assert len(coder.claims) == 1 + began.count("characters shown; the rest:") > 1


async def test_words_of_which_a_part_was_shown_keep_no_task_from_their_reader(world):
    planner, coder, _ = await sent(world)
    for _ in range(FILL):
        await send_task(planner, coder.me.id, "By the way", "x" * 9_000, expect="nothing")
    await call(coder, "read_inbox", limit=FILL + 1)
    [more] = await send_task(planner, coder.me.id, "Do it", "x")

    await call(coder, "read_inbox")

    assert (len(coder.claims), more.task_id in coder.claims) == (FILL + 2, True)


async def test_no_wait_of_a_shell_ends_with_a_word_that_it_has_begun_to_read(world):
    planner, coder, _ = await sent(world, expect="nothing")
    await send_task(planner, coder.me.id, "By the way", "x" * 30_000, expect="nothing")

    [*_, waited, after] = [
        await typed(coder, tool)
        for tool in ("watch_inbox", "watch_inbox", "watch_inbox", "read_inbox")
    ]

    assert ("timed out" in waited, "By the way" in after) == (True, True)


@pytest.mark.parametrize(("cursor", "is_lost"), [("2000", True), ("99999", False)])
async def test_a_word_whose_end_no_answer_has_brought_goes_on_to_be_there(world, cursor, is_lost):
    planner, coder, _ = await sent(world)
    [word] = await send_task(planner, coder.me.id, "By the way", "x" * 9_000, expect="nothing")
    async with Session(world.bus, coder.me) as before:
        await call(before, "read_inbox")

    async with Session(world.bus, coder.me) as session:
        await call(session, "read_inbox")
        this, asked = session.calls.begin(), {"task_id": word.task_id, "cursor": cursor}
        await TOOLS["read_inbox"].run(session, asked, _no_progress, call=this)
        this.lost() if is_lost else this.answered()
        [*_, after] = [await call(session, "read_inbox") for _ in range(2)]

    assert f"Word {word.task_id}" in after.text


async def test_what_gave_nothing_before_waits_for_nobody(world):
    planner = await world.session("planner")
    await call(planner, "read_inbox")

    async with planner.lock, asyncio.timeout(5):
        await call(planner, "list_agents")


@pytest.fixture
async def shown(world):
    """Return a session that was shown a result, and what is noted of that by now."""
    planner, coder, task_id = await sent(world)
    await publish_result(coder, task_id, "completed")
    await call(planner, "read_inbox")

    async def is_seen():
        kept, _ = await read_sent(world.bus, planner.me.id, coder.me.id, task_id)
        return kept.seen_at is not None

    return planner, is_seen


@pytest.mark.parametrize("hinders", ["another call", "an outage"])
async def test_what_cannot_be_noted_now_is_noted_later_and_waited_for_by_nobody(
    shown, hinders, monkeypatch
):
    planner, is_seen = shown
    with monkeypatch.context() as away:
        if hinders == "an outage":
            away.setattr(type(planner.bus), "is_connected", False)
            await call(planner, "list_agents")
        else:
            async with planner.lock, asyncio.timeout(5):
                await call(planner, "list_agents")
    before = await is_seen()
    await call(planner, "list_agents")

    assert (before, await is_seen()) == (False, True)


async def test_what_is_noted_costs_the_call_nothing_of_its_time(shown, monkeypatch):
    planner, _ = shown
    left = []

    async def in_vain(_):
        left.append(budget.current().left_s)
        budget.current().failed = BusUnreachable()
        raise BusUnreachable

    monkeypatch.setattr(planner.outcomes, "confirm", in_vain)
    with budget.call() as own:
        await call(planner, "list_agents")

    assert (len(left), max(left) <= 0.5, own.failed) == (1, True, None)
