# SPDX-License-Identifier: Apache-2.0
"""What a session does with a task that its bus cannot take yet, and says of it."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from messages import read_task

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BadInput, BusUnreachable, NotAllowed, StoreFull, Unconfirmed
from mcp_agentbus.handoff.dispatch import outgoing
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import Published, publish_result
from mcp_agentbus.store.outbox.letter import Home, Letter
from mcp_agentbus.store.outbox.outbox import Envelope, KeptHere

ME = Agent("planner")
TASK = read_task().model_copy(
    update={"expires_at": now() + timedelta(hours=1), "request": "of-this-call"}
)
AWAY = BusUnreachable("No bus server answers. Nothing was stored.", hint="Wait.")


class Outbox:
    """Letters in this process, and what the bus says of each sender."""

    def __init__(self, *tasks, is_over=False, locked=False, may_hold=True, fails=None):
        self.letters = [Letter(task, ME, Home((), "")) for task in tasks]
        self.is_over, self.is_locked_out, self.may_hold = is_over, locked, may_hold
        self.fails, self.says, self.withdrawn = fails, {}, []

    @property
    def seen(self):
        return tuple(Envelope(each.task, 1, now(), True, self.is_over) for each in self.letters)

    async def has(self, sender):
        return any(each.task.sender == sender for each in self.letters)

    async def find(self, written):
        return next((each for each in self.seen if each.task.id.startswith(written)), None)

    async def read(self, waits):
        return next((each for each in self.letters if each.task.id == waits.task.id), None)

    async def put(self, task, sender):
        if self.fails:
            raise self.fails
        self.letters.append(Letter(task, sender, Home((), "")))
        return KeptHere(duplicate=False)

    async def withdraw(self, sender, task_id, said):
        self.withdrawn.append((sender, task_id, said))
        return any(each.task.id == task_id for each in self.letters)


def session(outbox=None, *, me=ME, keeps=True):
    """Return a session on a bus that is away."""
    forgotten = []
    return SimpleNamespace(
        me=me,
        refreshed=lambda: me,
        inboxes=me.inboxes,
        outbox=outbox,
        forgotten=forgotten,
        outcomes=SimpleNamespace(forget=forgotten.append, sent_records=None),
        bus=SimpleNamespace(settings=SimpleNamespace(keeps_outbox=keeps, state_dir=None)),
    )


@pytest.mark.parametrize(
    ("outbox", "behind"),
    [
        (None, False),
        (Outbox(), False),
        (Outbox(TASK), True),
        (Outbox(TASK, locked=True), False),
        (Outbox(TASK, may_hold=False), False),
        (Outbox(TASK.model_copy(update={"sender": "other"})), False),
    ],
    ids=["no outbox", "empty", "one of its own", "locked out", "none marked", "another's"],
)
async def test_what_is_sent_goes_behind_what_its_agent_has_sent_and_waits_here(outbox, behind):
    assert await outgoing.goes_behind_others(session(outbox)) == behind


@pytest.mark.parametrize(
    ("failure", "says", "why"),
    [
        (AWAY, {}, "No bus server answers."),
        (AWAY, {"": "It is another bus."}, "No bus server answers."),
        (None, {"": "It is another bus."}, "It is another bus."),
        (None, {"planner": "It may say nothing there.", "": "Slow."}, "It may say nothing there."),
        (None, {"lead": "It may say nothing there."}, outgoing.BEHIND_OTHERS),
        (None, {}, outgoing.BEHIND_OTHERS),
    ],
)
async def test_what_is_kept_here_says_why_and_is_awaited_at_the_bus_no_more(failure, says, why):
    planner = session(Outbox())
    planner.outbox.says = says

    here = await outgoing.keep(planner, TASK, failure)

    assert here == KeptHere(duplicate=False, why=why)
    assert planner.forgotten == [TASK.id]
    assert [each.task for each in planner.outbox.letters] == [TASK]


@pytest.mark.parametrize(
    ("failure", "local", "kind"),
    [
        (AWAY, StoreFull("The disk is full.", hint="Make room."), BusUnreachable),
        (AWAY, Unconfirmed("It is slow.", mend="Wait."), Unconfirmed),
        (Unconfirmed("No answer came."), StoreFull("The disk is full."), Unconfirmed),
        (None, StoreFull("The disk is full."), BusUnreachable),
    ],
)
async def test_what_cannot_be_kept_here_either_says_both_and_whether_it_may_be_stored(
    failure, local, kind
):
    planner = session(Outbox(fails=local))

    with pytest.raises(kind) as failed:
        await outgoing.keep(planner, TASK, failure)

    assert type(failed.value) is kind
    assert f"Nor could it be kept here: {local.message}" in failed.value.message
    assert planner.forgotten == []


async def test_beside_a_bus_of_ones_own_nothing_is_kept_where_another_has_left_something(
    monkeypatch,
):
    async def left(*_, **__):
        return ()

    monkeypatch.setattr(outgoing, "read_outbox", left)
    planner = session(Outbox(), keeps=False)

    with pytest.raises(BusUnreachable) as failed:
        await outgoing.keep(planner, TASK, AWAY)

    assert failed.value is AWAY
    assert planner.outbox.letters == []


async def test_a_task_under_an_id_that_another_has_here_is_refused_as_it_is():
    refusal = BadInput("It was used for another.")

    with pytest.raises(BadInput) as refused:
        await outgoing.keep(session(Outbox(fails=refusal)), TASK, AWAY)

    assert refused.value is refusal


async def test_what_may_be_at_the_bus_is_not_said_to_be_stored_nowhere_where_its_id_is_taken_here():
    refusal = BadInput("It was used for another. Nothing was stored.", hint="Use another.")

    with pytest.raises(Unconfirmed) as failed:
        await outgoing.keep(session(Outbox(fails=refusal)), TASK, Unconfirmed("No answer came."))

    said = "No answer came. Nor could it be kept here: It was used for another."
    assert (failed.value.message, failed.value.hint) == (said, Unconfirmed.hint)


@pytest.mark.parametrize(
    ("found", "keeps", "kept"),
    [
        ([TASK], True, True),
        ([TASK], False, False),
        ([], True, False),
        ([TASK.model_copy(update={"id": "t9"})], True, False),
        ([TASK.model_copy(update={"request": "another"})], True, False),
        (StoreFull(), True, False),
    ],
)
async def test_without_a_listener_it_is_kept_if_one_that_has_ended_had_kept_this_very_task(
    monkeypatch, found, keeps, kept
):
    started = []

    async def kept_here(_, **how):
        started.append(how)
        if isinstance(found, Exception):
            raise found
        return [Envelope(task, 1, now(), True) for task in found]

    monkeypatch.setattr(outgoing, "read_outbox", kept_here)
    planner = session(keeps=keeps)

    if kept:
        assert await outgoing.keep(planner, TASK, AWAY) == KeptHere(True, "No bus server answers.")
    else:
        with pytest.raises(BusUnreachable) as failed:
            await outgoing.keep(planner, TASK, AWAY)
        assert ("a listener keeps" in failed.value.hint) == keeps
    assert planner.forgotten == [TASK.id] * kept
    assert started == [{"may_start": False}] * keeps


@pytest.mark.parametrize(
    ("outbox", "keeps", "failure", "says_how"),
    [
        (None, True, AWAY, True),
        (None, False, AWAY, False),
        (None, True, Unconfirmed("No answer came."), False),
        (Outbox(), True, AWAY, False),
    ],
)
def test_where_a_listener_would_keep_it_the_error_says_how(outbox, keeps, failure, says_how):
    error = outgoing.kept_nowhere(session(outbox, keeps=keeps), failure)

    assert (error is failure) == (not says_how)
    assert (type(error), error.message) == (type(failure), failure.message)
    assert ("Run `agentbus listen`, or `agentbus listen --install` to" in error.hint) == says_how
    assert error.hint.startswith(failure.hint)


@pytest.mark.parametrize(
    ("outbox", "me", "here"),
    [
        (Outbox(TASK), ME, True),
        (Outbox(TASK), Agent("other"), False),
        (Outbox(TASK, may_hold=False), ME, False),
        (Outbox(), ME, False),
        (None, ME, False),
    ],
)
async def test_it_is_known_what_its_agent_has_sent_that_is_not_at_the_bus(outbox, me, here):
    assert await outgoing.is_outgoing(session(outbox, me=me), TASK.id) == here


@pytest.mark.parametrize(
    ("outbox", "done"),
    [(Outbox(TASK), True), (Outbox(), False), (Outbox(TASK, may_hold=False), False), (None, False)],
)
async def test_what_is_withdrawn_here_is_awaited_no_more(outbox, done):
    planner = session(outbox)

    assert await outgoing.withdrawn(planner, TASK.id, "not any more") == done
    assert planner.forgotten == [TASK.id] * done
    if done:
        assert outbox.withdrawn == [("planner", TASK.id, "not any more")]


async def test_what_waits_here_is_withdrawn_without_the_bus():
    planner = session(Outbox(TASK))

    said = {"summary": "not any more", "body": "as it rains", "artifacts": ("a.md",)}
    told = await publish_result(planner, TASK.id, "cancelled", **said)

    assert told == Published(TASK.id, "cancelled")
    assert planner.outbox.withdrawn == [("planner", TASK.id, {**said, "progress": None})]


async def failed(planner, error=AWAY):
    @outgoing.telling_too
    async def reads(_):
        raise error

    with pytest.raises(type(error)) as failed:
        await reads(planner)
    assert failed.value.message == error.message
    return failed.value.hint


async def test_an_inbox_that_cannot_be_read_says_what_its_agent_has_sent_that_waits_here():
    many = [TASK.model_copy(update={"id": f"t{number}"}) for number in range(12)]
    late = [task.model_copy(update={"expires_at": now()}) for task in many[:2]]
    ten = "t0, t1, t2, t3, t4, t5, t6, t7, t8, t9"

    for tasks, named in (
        (many, f"yet at the bus: {ten} and 2 more. They"),
        (many[:10], f"yet at the bus: {ten}. They"),
        ((*late, many[2]), "yet at the bus: t0, t1, t2. They"),
    ):
        hint = await failed(session(Outbox(*tasks)))
        assert hint.startswith("Wait. Sent by this agent, stored on this machine and not")
        assert named in hint
        assert hint.endswith("once the bus takes them.") == (tasks[0] is many[0])
    assert hint.endswith(" The deadline of 2 of them has passed.")
    assert "t1" in await failed(session(Outbox(*many)), NotAllowed("No.", hint="Ask."))


async def test_what_waits_here_is_late_from_its_deadline_on(monkeypatch):
    at = now()
    monkeypatch.setattr("mcp_agentbus.core.text.now", lambda: at)
    to_come = TASK.model_copy(update={"expires_at": at + timedelta(microseconds=1)})
    come = TASK.model_copy(update={"expires_at": at})

    hint = await failed(session(Outbox(to_come, come)))
    assert hint.endswith(" The deadline of 1 of them has passed.")


@pytest.mark.parametrize(
    ("outbox", "me"),
    [(None, ME), (Outbox(), ME), (Outbox(TASK, is_over=True), ME), (Outbox(TASK), Agent("other"))],
    ids=["no outbox", "empty", "withdrawn", "another's"],
)
async def test_where_nothing_of_its_agent_waits_the_error_is_as_it_was(outbox, me):
    assert await failed(session(outbox, me=me)) == "Wait."


@pytest.mark.parametrize(("ends_in_s", "state"), [(1, "stored"), (0, "expired"), (-1, "expired")])
async def test_the_life_of_a_task_that_waits_here_is_told_without_the_bus(
    monkeypatch, ends_in_s, state
):
    at = now()
    monkeypatch.setattr("mcp_agentbus.core.text.now", lambda: at)
    ends_at = at + timedelta(seconds=ends_in_s)
    task = TASK.model_copy(update={"expires_at": ends_at})
    planner, other = session(Outbox(task)), session(Outbox(task), me=Agent("other"))

    life = await task_life(planner, task.id)

    assert (life.state, life.task, life.sent.expires_at) == (state, task, ends_at)
    assert (life.is_outgoing, life.record.state, life.holder) == (True, "stored", "")
    for others in (["planner"], ["*"]):
        assert (await task_life(other, task.id, others)) == replace(life)
