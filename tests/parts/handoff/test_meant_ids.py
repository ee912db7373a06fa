# SPDX-License-Identifier: Apache-2.0
"""Which task is meant by the beginning of an id, and where that is looked for."""

import pytest
from exact_server import ExactServer, reader
from planners_task import SENT, TASK

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, BadSetup, NotAllowed, UnknownTask
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.views import task_ids
from mcp_agentbus.handoff.views.task_ids import answered_id, whole_id
from mcp_agentbus.handoff.views.whose import sender_of
from mcp_agentbus.store import codec
from mcp_agentbus.store.outbox.outbox import Envelope
from mcp_agentbus.store.steps import first_record

ID, OTHER = f"abcdef{26 * '0'}", f"abcdef1{25 * '0'}"
CODER = Agent("coder", roles=("review",))


def sent(task_id=ID, *, owner="planner", inbox="coder", seq=4):
    """Return what a sender keeps of a task, as it stands there."""
    kept = SENT.model_copy(update={"task_id": task_id, "owner": owner, "inbox": inbox})
    subject = f"agentbus.{owner}.sent.{inbox}.{task_id}"
    return Found(subject, seq, SENT.created_at, {}, codec.encode_sent(kept))


class Outbox:
    """Has one task, or only may have some."""

    def __init__(self, *, may_hold=True):
        self.may_hold = may_hold

    async def find(self, written):
        task = TASK.model_copy(update={"id": OTHER})
        return Envelope(task, 1, TASK.created_at, True) if OTHER.startswith(written) else None


async def test_a_whole_id_of_ours_is_taken_as_it_is_and_nothing_is_asked():
    server = ExactServer(messages=[sent()])
    planner = reader(server, Agent("planner"), outbox=Outbox())

    for whole in (ID, "x" * 5):
        assert await whole_id(planner, whole) == whole
    assert (server.asked, planner.outcomes.sent_records.asked) == ([], [])


async def test_what_waits_on_this_machine_is_meant_before_all_else():
    server = ExactServer(messages=[sent()])

    assert await whole_id(reader(server, Agent("planner"), outbox=Outbox()), "abcdef") == OTHER
    for outbox in (Outbox(may_hold=False), None):
        planner = reader(server, Agent("planner"), outbox=outbox)
        assert await whole_id(planner, "abcdef") == ID


async def test_then_what_the_session_holds():
    server = ExactServer(messages=[sent()])
    coder = reader(server, CODER)
    coder.claims.hold(Claim(TASK.model_copy(update={"id": OTHER}), None, first_record(SENT), 1))

    assert await whole_id(coder, "abcdef") == OTHER
    assert (server.asked, coder.outcomes.sent_records.asked) == ([], [])


@pytest.mark.parametrize(
    ("me", "inbox"), [(Agent("planner"), "coder"), (CODER, "coder"), (CODER, "role-review")]
)
async def test_then_what_its_agent_has_sent_or_received_once_all_of_it_is_kept(
    monkeypatch, me, inbox
):
    monkeypatch.setattr(task_ids, "of_this_user", None)
    server = ExactServer(messages=[sent(inbox=inbox), sent(OTHER, owner="a", inbox="b")])
    session = reader(server, me)

    assert await whole_id(session, "abcdef") == ID
    assert session.outcomes.sent_records.asked == ["called", "settled"]


async def test_what_nobody_has_kept_yet_is_looked_for_then():
    server = ExactServer(messages=[sent(f"123456{26 * '0'}")])
    planner = reader(server, Agent("planner"))
    planner.outcomes.sent_records.found = lambda: server.messages.append(sent())

    assert await whole_id(planner, "abcdef") == ID
    assert planner.outcomes.sent_records.asked == ["called", "settled", "look"]


async def test_at_last_what_this_users_other_agents_have_sent_or_received(monkeypatch):
    monkeypatch.setattr(task_ids, "of_this_user", lambda _: ("planner", "tester"))
    server = ExactServer(messages=[sent(), sent(OTHER, owner="a", inbox="b")])

    assert await whole_id(reader(server, Agent("other")), "abcdef") == ID
    server.messages[0] = sent(inbox="tester", owner="lead")
    assert await whole_id(reader(server, Agent("other")), "abcdef") == ID


async def test_where_it_is_not_known_which_those_are_it_comes_back_as_it_is(monkeypatch):
    def unreadable(_):
        raise BadSetup("The book of names cannot be read.")

    monkeypatch.setattr(task_ids, "of_this_user", unreadable)

    planner = reader(ExactServer(), Agent("planner"))
    assert await whole_id(planner, "abcdef") == "abcdef"


async def test_of_several_none_is_meant():
    server = ExactServer(messages=[sent(), sent(OTHER)])
    with pytest.raises(BadInput, match=f"The ids of 2 tasks begin with abcdef: {ID}, {OTHER}."):
        await whole_id(reader(server, Agent("planner")), "abcdef")


@pytest.mark.parametrize(
    ("written", "answered"),
    [(None, None), ("abcdef", ID), (ID, ID), ("task-20260518-0001", "task-20260518-0001")],
)
async def test_a_task_answers_what_is_meant_or_another_producers_as_it_is_written(
    written, answered
):
    server = ExactServer(messages=[sent()])

    assert await answered_id(reader(server, Agent("planner")), written) == answered


async def test_what_is_written_as_an_id_of_ours_and_is_none_nothing_answers():
    with pytest.raises(UnknownTask) as unknown:
        await answered_id(reader(ExactServer(), Agent("planner")), "abcdef")

    said = "No task's id begins with abcdef, so nothing can answer it. Nothing was sent."
    assert unknown.value.message == said
    assert unknown.value.hint == "Copy its id from read_inbox, or leave in_reply_to out."


async def test_who_has_sent_a_task_is_told_as_far_as_that_is_known():
    server, refusing = ExactServer(messages=[sent()]), ExactServer()

    async def many(*_):
        raise NotAllowed

    refusing.many = many
    told = [await sender_of(server, ID), await sender_of(server, OTHER)]
    assert (told, await sender_of(refusing, ID)) == (["planner", None], None)
