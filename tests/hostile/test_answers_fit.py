# SPDX-License-Identifier: Apache-2.0
"""However peers inflate what they write: an answer has room in its host, and names what it leaves.

Escapes and indents make a text up to ten times as long as it was stored.
"""

import json
import re
from datetime import timedelta

import pytest
import pytest_asyncio
import served
from rawclient import Raw

from mcp_agentbus.core import text
from mcp_agentbus.core.framing import INDENT
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import agents
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.parked import parking
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster
from mcp_agentbus.store.task import Receipt, Record, Task
from mcp_agentbus.tools.answers import documents, layout, render
from mcp_agentbus.tools.answers.parked import parked_text
from mcp_agentbus.tools.answers.readers import SHELL
from mcp_agentbus.tools.answers.receipts import receipts_text
from mcp_agentbus.tools.answers.roster import roster_text

MOST = 28_000
# Of one stored character a frame makes 1, 4, 6, 10, and of a line end 5.
GROWING = ("b", "\x1b", "\u202e", "\U000e0041", "\n", '"', "\\", "\u00e9", "\U0001f600")
AT = text.now()
LONG_ID = "a" * 63
REST = re.compile(r"the rest: read_inbox\(task_id='\w+', cursor='(\d+)'\)")


def task(number, char="b", **more):
    subject = char.replace("\n", " ") * 200
    fields = {"id": f"{number:064d}", "from": LONG_ID, "to": f"role-{'r' * 58}", "subject": subject}
    fields |= {"body": char * 65_000, "thread_id": "t" * 128, "in_reply_to": "r" * 64}
    fields |= {"task_type": "y" * 128, "priority_given": char * 40, "created_at": AT}
    return Task.model_validate(fields | {"expires_at": AT} | more)


def record(number, char="b", **more):
    fields = {"task_id": f"{number:064d}", "owner": LONG_ID, "inbox": f"role-{'r' * 58}"}
    fields |= {"state": "completed", "agent": LONG_ID, "subject": char * 200, "updated_at": AT}
    fields |= {"thread_id": "t" * 128, "reason": char * 500, "summary": char * 2_000}
    fields |= {"artifacts": [char * 1_024] * 50, "progress": 50, "body": char * 200_000}
    return Record.model_validate(fields | more)


def named(count, answer):
    """Tell whether the ids of so many tasks stand in an answer, and the way to each of them."""
    ids = {f"{number:064d}" for number in range(count)}
    whole = "each whole: read_inbox(task_id='ID') for" in answer
    return all(each in answer and (whole or f"task_id='{each}'" in answer) for each in ids)


@pytest.mark.parametrize("char", GROWING, ids=ascii)
@pytest.mark.parametrize("full", [True, False])
def test_an_inbox_of_the_most_and_longest_that_there_may_be(char, full):
    given = {f"{number:064d}": AT for number in range(100, 125)}
    inbox = Inbox(
        tasks=(
            *(Item(task(number, char), "claimed", 5, holder=LONG_ID) for number in range(50)),
            *(Item(task(number, char), "claimed", 5, given_at=AT) for number in range(50, 100)),
        ),
        results=tuple(record(number, char) for number in range(100, 150)),
        results_given_at=given,
        notes=tuple(f"Task {number:064d} was parked: {'x' * 200}" for number in range(2_000)),
        waiting={"high": 10**9, "normal": 10**9, "low": 10**9},
        next_cursor="c" * 60,
    )

    answer = render.inbox_text(inbox, LONG_ID, full=full)

    assert 14_000 < len(answer) <= MOST
    assert named(150, answer)
    assert re.search(r"Note: 19\d\d more of this kind", answer)


def test_a_thousand_tasks_that_were_given_before_are_counted_and_named_as_far_as_there_is_room():
    before = tuple(Item(task(number), "claimed", given_at=AT) for number in range(1_000))

    new = Item(task(1_000), "claimed", new=True)
    answer = render.inbox_text(Inbox(tasks=(*before, new)), LONG_ID)

    assert 14_000 < len(answer) <= MOST
    assert f"Task {new.task.id} from {LONG_ID} \u00b7 normal \u00b7 claimed now" in answer
    left_out = re.search(r"(\d+) more have no room here; .* and (\d+) that were given", answer)
    ids = {f"{number:064d}" for number in range(1_000)} & set(re.findall(r"\b\d{64}\b", answer))
    assert len(ids) + int(left_out[2]) == 1_000


@pytest.mark.parametrize("char", GROWING, ids=ascii)
async def test_a_result_with_many_artifacts_is_read_whole_page_by_page(own_world, char):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x")
    forged = {
        "type": "task.result", "status": "completed", "updated_at": text.stamp(AT),
        "agent": coder.me.id, "summary": char * 1_000, "artifacts": [f"{n}:{char * 100}" for n in range(50)],
        "result": char * 3_000 + "THE END",
        "history": [
            {"state": "x" * 128, "by": "y" * 128, "at": text.stamp(AT), "reason": f"{n} {'z' * 490}"}
            for n in range(100)
        ],
    }  # fmt: skip
    subject = f"agentbus.{planner.me.id}.results.{coder.me.id}.{sent.task_id}"
    async with Raw(own_world.bus.settings.data_dir) as raw:
        await raw.ask(subject.encode(), json.dumps(forged).encode())

    [result] = (await read_inbox(planner)).results
    life = await task_life(planner, sent.task_id)
    first = render.inbox_text(Inbox(results=(result,)), "planner")
    pages, cursors = [render.life_text(life)], []
    while cursors := [*cursors, *(int(at) for at in REST.findall(pages[-1]))]:
        pages.append(render.life_text(life, cursors.pop(0)))

    assert max(map(len, [first, *pages])) <= MOST
    assert REST.search(first)
    for n in range(50):
        assert sum(page.count(f"Artifact: {n}:") for page in pages) == 1
    steps = [n for n in range(100) for page in pages if f"({n} z" in page]
    assert len(steps) == len(set(steps)) >= 100 - len(pages)  # the rest stands on two of them
    assert "THE END" in "".join(pages).replace("\n" + INDENT, "")


@pytest.mark.parametrize("char", GROWING, ids=ascii)
def test_a_roster_of_the_longest_agents_goes_on_where_the_text_ends(char):
    listed = tuple(
        agents.Listed(
            roster.Entry(
                f"{number:063d}", "live session", AT, hosts=("h" * 63,) * 8,
                roles=tuple(f"{number:055d}-{role:02d}" for role in range(16)),
                description=char * 300,
            ),
            {"high": 1},
        )
        for number in range(100)
    )  # fmt: skip

    roles = {role: {"high": 1} for each in listed for role in each.entry.roles}
    answer = roster_text(agents.Page(listed, None, 100, roles=roles))

    assert 12_000 < len(answer) <= MOST
    shown = answer.count(": live session")
    assert answer.count("\nrole:") == 16 * shown
    last = re.findall(r"^(\d{63}): live", answer, re.MULTILINE)[-1]
    assert f"100 agents in all; cursor {last!r} gives the next." in answer


@pytest.mark.parametrize("char", GROWING, ids=ascii)
def test_what_is_parked_is_listed_as_far_as_there_is_room(char):
    parked = [
        parking.Parked(number, "c" * 63, "s" * 63, char * 2_000, AT, None, 1)
        for number in range(1_000)
    ]

    answer = parked_text(parked)

    assert 14_000 < len(answer) <= MOST
    assert "more are parked: `agentbus parked --json` has all of them." in answer


@pytest.mark.parametrize("count", [1, 50, 5_000])
def test_receipts_of_a_task_for_very_many_name_whoever_was_refused_first(count):
    late = AT + timedelta(days=1)
    stored = [
        Receipt(task_id=f"{n:032x}", to=f"{n:063d}", expires_at=late, deliver_at=late, wake="held",
                reason="x" * 80)
        for n in range(count)
    ]  # fmt: skip
    refused = Receipt(task_id="f" * 32, to="last", state="refused", expires_at=late, reason="Full.")

    for receipts in (stored, [*stored, refused]):
        answer, data = receipts_text(receipts), documents.of_receipts_within(receipts)
        assert max(len(answer), len(json.dumps(data))) <= MOST
        more = int(data.get("more", "0").split()[0])
        assert len(data["receipts"]) + more == len(receipts)
        assert ("last: refused" in answer) is (receipts is not stored)
        assert ("last" in {each["to"] for each in data["receipts"]}) is (receipts is not stored)


def test_tasks_that_nobody_answered_are_named_as_far_as_there_is_room():
    class Open:
        def __init__(self, number):
            self.record, self.state, self.holder = record(number), "working", LONG_ID
            self.is_left = self.is_outgoing = False

    answer = render.answers_text(Inbox(), [Open(number) for number in range(1_000)], "planner")

    assert len(answer) <= MOST
    assert "more timed out without a result; --json names all of them." in answer
    assert "`agentbus watch --task ID --agent planner` waits for it." in answer


@pytest_asyncio.fixture
async def flood(home, world):
    """An agent with 50 tasks and 50 results of which each character takes ten."""
    me, planner, grows = world.name("coder"), (await world.session("planner")).me.id, "\U000e0041"
    await roster.register(world.bus, Agent(me, description=grows * 300), text.now())
    lane = f"agentbus.{me}.tasks.normal.{planner}".encode()
    async with Raw(home.data_dir) as raw:
        for number in range(50):
            about = {
                "type": "task.request", "id": f"{number:063d}f", "subject": grows * 200,
                "priority": grows * 40, "payload": {"content": grows * 6_000},
            }  # fmt: skip
            await raw.ask(lane, json.dumps(about).encode())
            result = {
                "type": "task.result", "status": "completed", "updated_at": text.stamp(AT),
                "artifacts": ["\x1b" * 1_024] * 50, "agent": planner, "summary": "\n" * 2_000,
            }  # fmt: skip
            where = f"agentbus.{me}.results.{planner}.{number:063d}e"
            await raw.ask(where.encode(), json.dumps(result).encode())
            await raw.ask(lane, b"rubbish")
    return me


@pytest.mark.parametrize(*served.PAIRED, indirect=["way"])
async def test_tools_resources_and_commands_keep_within_it_together(home, way, flood, era):
    folder = home.data_dir.parent
    async with served.client(folder, flood, era) as client:
        answers = [await client.call_tool(*call) for call in (
            ("list_agents", {"query": flood}),
            ("read_inbox", {"peek": True, "limit": 50}),
            ("read_inbox", {"limit": 50, "detail": "full"}),
            ("read_inbox", {"limit": 50}),
            ("watch_inbox", {"timeout_s": 0}),
            ("read_inbox", {"task_id": f"{0:063d}f"}),
            ("read_inbox", {"task_id": f"{0:063d}e"}),
        )]  # fmt: skip
        read = [
            (await client.read_resource(uri)).contents[0].text
            for uri in (f"inbox://{flood}", f"task://{0:063d}f", f"task://{0:063d}e")
        ]
    typed = [
        (await served.typed(folder, *argv, "--agent", flood))[1]
        for argv in (
            ("inbox", "--peek", "--limit", "50"), ("inbox", "--limit", "50", "--full"),
            ("inbox", "--limit", "50"), ("task", f"{0:063d}f"), ("parked",),
        )
    ]  # fmt: skip
    texts = [*map(served.text, answers), *read, *typed]

    assert [len(each) for each in texts if len(each) > MOST] == []
    assert all(each.structured_content is None for each in answers)
    assert sum(len(each) > MOST // 2 for each in texts) >= 6
    assert layout.ANSWER_MAX_CHARS == MOST
    assert SHELL.whole("ID") in typed[0]
