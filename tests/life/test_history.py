# SPDX-License-Identifier: Apache-2.0
"""What an agent sent and received is found again: by view, by words, page by page."""

from dataclasses import replace

import pytest

from mcp_agentbus.archive.history import history
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.tools.catalog import TOOLS


async def ids(session, **wanted):
    return [past.task_id for past in (await history(session, **wanted)).tasks]


@pytest.fixture(params=["archived", "not archived"])
def kept_or_not(request, own_world):
    """With an archive, and where its user wants none: then each task of its server is looked at."""
    own_world.bus.settings = replace(
        own_world.bus.settings, archive=Keeps(enabled=request.param == "archived")
    )
    return own_world


async def test_a_model_that_lost_its_context_finds_all_that_is_open(kept_or_not):
    planner, coder = await kept_or_not.session("planner"), await kept_or_not.session("coder")
    done, held, sent = [
        (await send_task(planner, coder.me.id, subject, "Do it."))[0].task_id
        for subject in ("Done", "Held", "Waits")
    ]
    [back] = await send_task(coder, planner.me.id, "Asked back", "What for?")
    await read_inbox(coder, limit=2)
    await publish_result(coder, done, "completed", summary="There you are.")

    assert await ids(coder, view="open") == [back.task_id, held]
    assert await ids(planner, view="open") == [sent, held]
    assert await ids(planner, view="sent") == [sent, held, done]
    assert await ids(coder, view="received") == [sent, held, done]
    assert await ids(coder) == [back.task_id, sent, held, done]
    [past] = (await history(planner, words="THERE are")).tasks
    assert (past.task_id, past.state, past.summary) == (done, "completed", "There you are.")
    unlike = await TOOLS["read_inbox"].run(planner, {"view": "sent", "query": "nowhere"}, None)
    assert unlike.text == f"No task sent by {planner.me.id} is like that."


async def test_looking_claims_nothing_and_marks_nothing_as_seen(kept_or_not):
    planner, coder = await kept_or_not.session("planner"), await kept_or_not.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Count", "All of them.")

    assert await ids(coder, view="received") == [receipt.task_id]
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, item.task.id, "completed")
    assert await ids(planner, view="sent", state="completed") == [receipt.task_id]
    assert [record.task_id for record in (await read_inbox(planner)).results] == [item.task.id]


async def test_a_long_request_is_kept_whole_and_every_note_of_its_worker(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    body = "Read this. " + "x" * 5_000 + " needle"
    [receipt] = await send_task(planner, coder.me.id, "Long", body, task_type="reading")
    await history(planner)
    await read_inbox(coder)
    for summary in ("begun", "half of it"):
        await publish_result(coder, receipt.task_id, "working", summary=summary)
    await publish_result(coder, receipt.task_id, "completed", body="All of it.")

    [past] = (await history(planner, words="needle")).tasks
    assert (past.request, past.task_type, past.result) == (body, "reading", "All of it.")
    assert "needle" in past.snippet


async def test_page_after_page_has_each_task_once(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    sent = [
        (await send_task(planner, coder.me.id, f"Task {number}", "x"))[0].task_id
        for number in range(5)
    ]
    cursor, pages = None, []
    while not pages or cursor:
        page = await history(planner, view="sent", limit=2, cursor=cursor)
        pages.append([past.task_id for past in page.tasks])
        cursor = page.next_cursor

    assert pages == [[sent[4], sent[3]], [sent[2], sent[1]], [sent[0]]]


@pytest.mark.parametrize(
    "wanted", [{"view": "mine"}, {"limit": 0}, {"limit": 101}, {"cursor": "peek-1-1"}]
)
async def test_what_makes_no_sense_is_refused(world, wanted):
    with pytest.raises(BadInput):
        await history(await world.session("planner"), **wanted)


async def test_words_are_words_whatever_else_they_mean_to_a_database(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, 'Odd" OR * NEAR(', "(a AND -b) col:umn ^x")

    for words in ('Odd"', "NEAR(", "AND -b", "col:umn", "^x", "*", '" OR "'):
        found = await history(planner, words=words)
        assert {past.task_id for past in found.tasks} <= {receipt.task_id}
    assert await ids(planner, words='odd" near(') == [receipt.task_id]


async def test_what_another_agent_sent_is_nobodys_business(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    reviewer = await world.session("reviewer")
    await send_task(planner, coder.me.id, "Between those two", "x")

    assert await ids(reviewer) == []


async def test_a_broken_archive_is_told_and_the_bus_is_read(own_world, tmp_path):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    (tmp_path / "archive.db").write_bytes(b"no database at all" * 100)
    (tmp_path / "archive.db").chmod(0o600)
    bus = await own_world.another_bus()
    bus.settings = replace(bus.settings, state_dir=tmp_path)
    async with Session(bus, planner.me) as elsewhere:
        page = await history(elsewhere, view="sent")

    assert [past.task_id for past in page.tasks] == [receipt.task_id]
    assert "archive.db cannot be used" in page.notes[0]
