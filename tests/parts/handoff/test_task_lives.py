# SPDX-License-Identifier: Apache-2.0
"""All that is told of one task by its id, to its sender, its worker, and others of their user."""

from dataclasses import replace
from datetime import timedelta

import pytest
from exact_server import ExactServer, reader
from planners_task import HOUR, KEPT_AT, RECORD, SENT, SUBJECT, TASK, message
from server_stand_in import NOON

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, UnknownTask
from mcp_agentbus.handoff.call import Calls
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.lookup import Life, task_life
from mcp_agentbus.store import codec, roster
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import Decision
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.outbox.outbox import Envelope
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import Moment, Wakes

PLANNER, CODER, OTHER = Agent("planner"), Agent("coder"), Agent("other")
KEPT = SENT.model_copy(update={"seq": 7})
FIRST = first_record(KEPT)
WORKING = step(FIRST, "working", "coder", "session-1", NOON, attempts=1)
WOKEN = (Moment(state="woken", at=NOON - HOUR / 2, by="coder"),)
#: What its worker has copied of it, and its sender has not said.
FORGED = WORKING.model_copy(update={"subject": "As it was copied"})


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setattr("mcp_agentbus.core.text.now", lambda: NOON)
    server = ExactServer(state_dir=tmp_path)
    server.live = {"session-1"}

    async def may_hold(_, record):
        return record.session in server.live

    monkeypatch.setattr(roster, "may_hold", may_hold)
    return server


def lay(server, *, record=None, sent=KEPT, wakes=(), stored=False):
    """Have the server have these records of the task, and itself."""
    if stored:
        server.messages.append(message(**{"Agentbus-Proof": "of its sender"}))
    if record:
        server.messages.append(Found(RECORD, 20, NOON, {}, codec.encode_record(record)))
    if sent:
        server.messages.append(Found(KEPT_AT, 21, NOON, {}, codec.encode_sent(sent)))
    if wakes:
        done = Wakes(task_id="t1", owner="planner", inbox="coder", moments=wakes)
        at = "agentbus.planner.wakes.coder.t1"
        server.messages.append(Found(at, 22, NOON, {}, codec.encode_wakes(done)))


async def test_its_sender_is_told_how_it_goes_in_its_own_words_for_it_and_what_listeners_did(
    server,
):
    lay(server, record=FORGED, wakes=WOKEN, stored=True)
    planner = reader(server, PLANNER)
    life = await task_life(planner, "t1")

    assert life == Life("working", WORKING, KEPT, None, wakes=WOKEN)
    assert life.history == (WORKING.history[0], *WOKEN, WORKING.history[1])
    assert (life.holder, life.is_left, life.is_outgoing) == ("coder", False, False)
    assert planner.outcomes.sent_records.asked == ["called", "settled"]
    assert await task_life(planner, "t1", ["nobody"]) == life


async def test_whoever_has_its_inbox_is_told_the_task_as_well_while_it_is_open(server):
    lay(server, record=FORGED, stored=True)
    read = server.asked
    life = await task_life(reader(server, CODER), "t1")

    assert life == Life("working", FORGED, KEPT, TASK)
    assert ("AGENTBUS_TASKS", {"seq": 7, "batch": 1, "next_by_subj": SUBJECT}) in read


async def test_of_one_that_nobody_has_touched_its_whole_life_is_that_it_is_stored(server):
    lay(server, stored=True)

    assert await task_life(reader(server, CODER), "t1") == Life("stored", FIRST, KEPT, TASK)
    assert await task_life(reader(server, PLANNER), "t1") == Life("stored", FIRST, KEPT, None)
    own = await task_life(reader(server, PLANNER), "t1", ["nobody"])
    assert own == Life("stored", FIRST, KEPT, None)


async def test_of_one_that_is_over_its_text_is_not_looked_for(server):
    over = step(WORKING, "completed", "coder", "session-1", NOON)
    lay(server, record=over, stored=True)
    life = await task_life(reader(server, CODER), "t1")

    assert life == Life("completed", over, KEPT, None)
    assert life.holder == ""


async def test_one_that_its_sender_has_not_kept_is_found_among_all_that_waits(server):
    before = TASK.model_copy(update={"id": "t0"})
    server.messages.append(message(before, 6))
    lay(server, record=FORGED, sent=None, stored=True)

    assert await task_life(reader(server, CODER), "t1") == Life("working", FORGED, None, TASK)
    assert ("AGENTBUS_TASKS", SUBJECT, 1, 100) in server.asked


async def test_one_whose_message_is_gone_has_no_text(server):
    lay(server, record=FORGED)

    assert await task_life(reader(server, CODER), "t1") == Life("working", FORGED, KEPT, None)


async def test_one_that_has_just_come_is_told_by_itself(server):
    lay(server, sent=None, stored=True)

    assert await task_life(reader(server, CODER), "t1") == Life("stored", FIRST, KEPT, TASK)


@pytest.mark.parametrize("waits", [None, Envelope(TASK, 1, NOON, True)], ids=["never", "no more"])
async def test_one_that_does_not_lie_in_the_outbox_is_asked_for_at_the_bus(server, waits):
    class Outbox:
        may_hold = True

        async def find(self, _):
            return waits

        async def read(self, _):
            return None

    lay(server, record=WORKING)
    planner = reader(server, PLANNER, outbox=Outbox())

    assert await task_life(planner, "t1") == Life("working", WORKING, KEPT, None)


async def test_one_that_was_looked_for_and_kept_is_read_again(server):
    lay(server, sent=None, stored=True)
    planner = reader(server, PLANNER)
    planner.outcomes.sent_records.found = lambda: lay(server)

    assert await task_life(planner, "t1") == Life("stored", FIRST, KEPT, None)
    assert planner.outcomes.sent_records.asked == ["called", "settled", "look"]


async def test_what_a_session_holds_it_is_told_as_it_claimed_it_whatever_others_write(server):
    lay(server, record=FORGED)
    mallorys = FORGED.model_copy(update={"owner": "mallory", "state": "cancelled"})
    at = "agentbus.mallory.results.coder.t1"
    server.messages.insert(0, Found(at, 30, NOON, {}, codec.encode_record(mallorys)))
    coder = reader(server, CODER)
    coder.claims.hold(Claim(TASK, None, WORKING, 20))
    coder.claims.give(["t1"], Calls().begin())
    life = await task_life(coder, "t1")

    assert life == Life("working", FORGED, KEPT, TASK)
    assert coder.claims.given("t1").call is None  # who names it has it
    assert "AGENTBUS_TASKS" not in {each[0] for each in server.asked}


@pytest.mark.parametrize("others", [["planner"], ["coder"], ["nobody", "coder"], ["*"]])
async def test_others_of_their_user_are_told_what_its_sender_is(server, others):
    lay(server, record=FORGED, wakes=WOKEN, stored=True)
    life = await task_life(reader(server, OTHER), "t1", others)

    assert life == Life("working", WORKING, KEPT, None, wakes=WOKEN)


@pytest.mark.parametrize("others", [[], ["nobody"]])
async def test_nobody_else_is_told_anything_but_whose_it_is(server, others):
    lay(server, record=WORKING, stored=True)
    with pytest.raises(UnknownTask) as unknown:
        await task_life(reader(server, OTHER), "t1", others)

    said = "other neither sent nor received a task t1; planner sent it to coder."
    assert unknown.value.message == said
    assert unknown.value.hint == "A session of planner can read it."


async def test_what_is_no_id_is_refused_before_anything_is_asked(server):
    planner = reader(server, PLANNER)
    with pytest.raises(BadInput, match="not a task id"):
        await task_life(planner, "no id")

    assert planner.outcomes.sent_records.asked == []


@pytest.mark.parametrize(
    ("ends", "state"), [(NOON, "expired"), (NOON + timedelta(microseconds=1000), "working")]
)
async def test_from_its_deadline_on_it_has_expired_before_anybody_writes_that_down(
    server, ends, state
):
    late = KEPT.model_copy(update={"expires_at": ends})
    lay(server, record=WORKING, sent=late)
    life = await task_life(reader(server, PLANNER), "t1")

    assert life == Life(state, WORKING, late, None)
    assert life.holder == ("" if state == "expired" else "coder")


async def test_one_that_was_done_before_its_deadline_stays_done(server):
    over = step(WORKING, "completed", "coder", "session-1", NOON)
    late = KEPT.model_copy(update={"expires_at": NOON})
    lay(server, record=over, sent=late)

    life = await task_life(reader(server, PLANNER), "t1")
    assert life == Life("completed", over, late, None)


async def test_one_whose_session_is_gone_is_held_by_nobody(server):
    server.live = set()
    lay(server, record=WORKING)
    life = await task_life(reader(server, PLANNER), "t1")

    assert life == Life("working", WORKING, KEPT, None, is_left=True)
    assert life.holder == ""


@pytest.mark.parametrize("is_late", [False, True])
async def test_what_its_worker_asks_is_told_while_it_is_open(server, is_late):
    asking = step(WORKING, "needs_input", "coder", "session-1", NOON, summary="Which branch?")
    sent = KEPT.model_copy(update={"expires_at": NOON}) if is_late else KEPT
    lay(server, record=asking, sent=sent)
    life = await task_life(reader(server, PLANNER), "t1")

    told = Life("expired" if is_late else "needs_input", asking, sent, None)
    asks = None if is_late else Question("needs_input", "coder", NOON)
    assert life == replace(told, question=asks)


async def test_of_what_its_agent_does_not_take_no_text_is_shown(server):
    lay(server, stored=True)
    strict = replace(CODER, accept_from=("lead",))

    hidden = FIRST.model_copy(update={"subject": ""})
    assert await task_life(reader(server, strict), "t1") == Life("stored", hidden, None, None)


@pytest.mark.parametrize("is_of_it", [True, False])
async def test_what_its_user_decided_about_another_text_is_no_reply_to_what_is_asked(
    server, is_of_it
):
    """Its sender may put another text in the place of the first, under the same id."""
    asking = step(WORKING, "needs_approval", "coder", "session-1", NOON, summary="May I?")
    approved = Moment(state="approved", at=NOON, by="coder")
    lay(server, record=asking, wakes=[approved], stored=True)
    shown = TASK if is_of_it else TASK.model_copy(update={"body": "Drop the tables."})
    decision = Decision(approved=True, note="", at=NOON, task=decisions.text_of(shown))
    decisions.keep(server.settings.state_dir, asking, decision)

    asks = (await task_life(reader(server, CODER), "t1")).question

    assert (asks.is_open, asks.approved) == ((False, True) if is_of_it else (True, None))
