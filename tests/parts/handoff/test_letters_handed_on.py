# SPDX-License-Identifier: Apache-2.0
"""What stands on a bus once a task that waited for it was handed on: the task, or its whole end."""

from dataclasses import replace

import pytest
from planners_task import DELETED, HOUR, KEPT_AT, RECORD, SENT, SUBJECT, TASK, message
from server_stand_in import NOON, Server

from mcp_agentbus.bus.login.account import NotGranted
from mcp_agentbus.bus.replies import Found, Stored
from mcp_agentbus.config.machine_key import unforeseen
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import (
    BadInput,
    BadSetup,
    NameTaken,
    NotAllowed,
    SendLimit,
    StoreFull,
    UnknownAgent,
)
from mcp_agentbus.handoff.dispatch.addressees import Addressee
from mcp_agentbus.handoff.dispatch.arrival import Barred, be_known, hand_on
from mcp_agentbus.store import codec, roster
from mcp_agentbus.store.outbox.letter import Home, Letter
from mcp_agentbus.store.roster import Entry, Profile
from mcp_agentbus.store.steps import first_record, sent_of, step

ME = Agent("planner", "python")
LETTER = Letter(TASK, ME, Home((), ""))
OVER = replace(LETTER, is_over=True, said={"summary": "not any more"})
LATE = TASK.model_copy(update={"expires_at": NOON})
REFUSED = "it was handed on once the bus was reached, which refused it: "
PROFILE = "agentbus.planner.profile"


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr("mcp_agentbus.core.text.now", lambda: NOON)
    return Server(state_dir=tmp_path)


class Known:
    """Whom the sender has met: nobody of a name that is refused, others as they are set."""

    def __init__(self, refuses=None, accept_from=("*",)):
        self.asked, self.refuses, self.accept_from = [], refuses, accept_from

    async def find(self, addresses):
        self.asked += addresses
        if self.refuses:
            raise self.refuses
        entry = Entry("coder", "listening", accept_from=self.accept_from)
        return [Addressee(each, each, entry) for each in addresses]


def there(server):
    """Return the records that stand there, by subject, each with its revision."""
    read = {RECORD: codec.decode_record, KEPT_AT: codec.decode_sent}
    return {
        each.subject: (read[each.subject](each.subject, each.data), each.seq)
        for each in server.messages
        if each.subject in read
    }


def ended(state, reason, task=TASK, **more):
    return step(first_record(sent_of(task)), state, "planner", "", NOON, reason=reason, **more)


SEEN = {"seen_revision": 2, "seen_at": NOON, "closed": True}
WITHDRAWN = ended("cancelled", "its sender withdrew it", summary="not any more")


async def test_what_was_withdrawn_is_over_there_and_seen_by_who_did_it(server):
    await hand_on(server, OVER, Known())

    assert there(server) == {
        RECORD: (WITHDRAWN, 2), KEPT_AT: (SENT.model_copy(update=SEEN), 3),
    }  # fmt: skip


async def test_what_had_come_there_before_is_taken_out_and_what_was_kept_of_it_stays(server):
    kept = SENT.model_copy(update={"seq": 7, "body": "as it was"})
    server.messages += [message(), Found(KEPT_AT, 8, NOON, {}, codec.encode_sent(kept))]
    await hand_on(server, OVER, Known())

    seen = SEEN | {"seen_revision": 9}
    assert there(server)[RECORD] == (WITHDRAWN, 9)
    assert there(server)[KEPT_AT] == (kept.model_copy(update=seen), 10)
    assert server.done[-1] == DELETED


async def test_what_was_withdrawn_and_is_handed_on_again_changes_nothing(server):
    await hand_on(server, OVER, Known())
    before = list(server.messages)
    await hand_on(server, OVER, Known())

    assert server.messages == before


async def test_what_comes_at_its_deadline_has_expired_and_is_told_to_its_sender(server):
    await hand_on(server, replace(LETTER, task=LATE), Known())

    why = "its deadline passed while the bus was out of reach of its sender"
    assert there(server) == {
        RECORD: (ended("expired", why, LATE, summary=""), 2), KEPT_AT: (sent_of(LATE), 1),
    }  # fmt: skip


async def test_what_an_earlier_try_has_brought_there_is_left_as_it_is(server):
    server.messages.append(Found(KEPT_AT, 8, NOON, {}, codec.encode_sent(SENT)))
    await hand_on(server, LETTER, Known())

    assert server.done == []


OF_MONDAY = sent_of(TASK.model_copy(update={"request": "of-monday", "subject": "Monday"}))
BEFORE = Found(KEPT_AT, 8, NOON, {}, codec.encode_sent(OF_MONDAY))
OTHER = message(TASK.model_copy(update={"request": "of-monday"}))


@pytest.mark.parametrize(
    ("task", "lies"),
    [(TASK, [BEFORE]), (LATE, [BEFORE]), (TASK, [OTHER])],
    ids=["it has ended", "both are late", "not kept"],
)
async def test_what_has_the_request_id_of_another_task_is_refused_by_itself(server, task, lies):
    task = task.model_copy(update={"request": "of-tuesday"})
    server.messages += lies
    server.ack = Stored(7, duplicate=True)

    for _ in "again":
        await hand_on(server, replace(LETTER, task=task), Known())

    own = unforeseen(server.settings.state_dir, "t1", "of-tuesday")
    *left, kept, refused = server.messages
    assert left == lies
    kept, refused = (
        codec.decode_sent(kept.subject, kept.data),
        codec.decode_record(refused.subject, refused.data),
    )
    assert (kept.task_id, kept.thread_id, kept.subject) == (own, own, task.subject)
    assert (refused.task_id, refused.state) == (own, "rejected")
    assert refused.reason == (
        f"{REFUSED}its request_id was used for another task, t1, which is as it was. This one, "
        f"which was kept under that id, too, is {own}: send it again with another request_id."
    )


async def test_what_was_withdrawn_here_withdraws_no_other_that_has_its_request_id(server):
    task = TASK.model_copy(update={"request": "of-tuesday"})
    server.messages.append(BEFORE)

    await hand_on(server, replace(OVER, task=task), Known())

    assert server.messages == [BEFORE]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (
            Known(UnknownAgent("No agent 'coder' is registered. Nothing was sent.")),
            f"{REFUSED}No agent 'coder' is registered.",
        ),
        (Known(accept_from=("lead",)), f"{REFUSED}coder takes tasks of lead only."),
    ],
)
async def test_what_the_bus_refuses_is_rejected_with_its_reason_and_told_to_its_sender(
    server, known, reason
):
    await hand_on(server, LETTER, known)

    assert there(server) == {
        RECORD: (ended("rejected", reason, summary=""), 2), KEPT_AT: (SENT, 1),
    }  # fmt: skip


@pytest.mark.parametrize("refusal", [SendLimit, StoreFull, BadSetup])
async def test_what_is_refused_for_now_has_no_end(server, refusal):
    with pytest.raises(refusal):
        await hand_on(server, LETTER, Known(refusal()))

    assert server.done == []


@pytest.mark.parametrize("reply_to", ["", "lead"])
async def test_what_the_bus_takes_is_stored_once_all_whom_it_names_are_known(server, reply_to):
    task = TASK.model_copy(update={"reply_to": reply_to})
    known = Known()
    await hand_on(server, replace(LETTER, task=task), known)

    [(stream, subject, message_id, _, data), _] = server.done
    stored = ("AGENTBUS_TASKS", SUBJECT, "t1", codec.encode_task(task))
    assert (stream, subject, message_id, data) == stored
    assert there(server) == {KEPT_AT: (sent_of(task).model_copy(update={"seq": 7}), 1)}
    assert known.asked == ["coder", *filter(None, [reply_to])]


@pytest.mark.parametrize(
    ("said", "of_it", "thread"),
    [
        (("t1", "t0"), "release-7", "release-7"),
        (("t1", "t0"), "", "t1"),
        (("t1", "t0"), None, "t1"),
        (("hotfix", "t0"), "release-7", "hotfix"),
        (("t1", None), "release-7", "t1"),
        (("t1", "t2"), None, "of-received"),
    ],
    ids=[
        "of what it answers",
        "that has none",
        "not known",
        "its own",
        "answers none",
        "that came to its sender",
    ],
)
async def test_it_is_in_the_conversation_of_what_it_answers_unless_it_names_one(
    server, monkeypatch, said, of_it, thread
):
    asked = []

    async def read_sent(_, *whose):
        asked.append(whose)
        if whose == ("*", "planner", "t2"):
            return SENT.model_copy(update={"thread_id": "of-received"}), 4
        is_it = whose == ("planner", "*", "t0") and of_it is not None
        return (SENT.model_copy(update={"thread_id": of_it}), 4) if is_it else (None, 0)

    for module in ("arrival", "threads"):
        monkeypatch.setattr(f"mcp_agentbus.handoff.dispatch.{module}.read_sent", read_sent)
    task = TASK.model_copy(update=dict(zip(("thread_id", "in_reply_to"), said, strict=True)))
    await hand_on(server, replace(LETTER, task=task), Known())

    expected = task.model_copy(update={"thread_id": thread})
    assert server.done[0][-1] == codec.encode_task(expected)
    assert server.done[0][3]["Agentbus-Thread"] == thread
    looks = [("planner", "*", said[1]), ("*", "planner", said[1])][: 2 if of_it is None else 1]
    assert asked[1:] == looks * (said[0] == "t1" and said[1] is not None)


def registered(**more):
    profile = Profile(id="planner", hosts=("python",), registered_at=NOON - HOUR, **more)
    return Found(PROFILE, 4, NOON, {}, profile.model_dump_json().encode())


def as_account(server, account):
    server.settings.account = account
    return server


async def test_a_sender_that_is_not_known_there_is_registered_as_of_when_it_sent_the_task(server):
    await be_known(as_account(server, None), LETTER)

    [profile] = map(roster.decode_profile, server.messages)
    at = TASK.created_at
    assert (profile.id, profile.registered_at, profile.last_seen) == ("planner", at, at)


async def test_a_sender_is_registered_without_the_roles_that_its_account_was_not_granted(server):
    replaced = server.replace

    async def replace_granted(*asked):
        if any(b"review" in each for each in asked if isinstance(each, bytes)):
            raise NotGranted("review")
        return await replaced(*asked)

    server.replace = replace_granted
    sender = replace(LETTER.sender, roles=("review", "qa"))
    await be_known(as_account(server, "laptop"), replace(LETTER, sender=sender))

    [profile] = map(roster.decode_profile, server.messages)
    assert profile.roles == ("qa",)


@pytest.mark.parametrize(
    ("mine", "whose"), [(None, ""), (None, "pi"), ("laptop", ""), ("laptop", "laptop")]
)
async def test_one_that_is_known_stays_as_it_is(server, mine, whose):
    server.messages.append(registered(account=whose))
    await be_known(as_account(server, mine), LETTER)

    assert server.done == []


async def test_one_whose_name_another_account_has_may_say_nothing_there(server):
    server.messages.append(registered(account="pi"))
    with pytest.raises(Barred) as barred:
        await be_known(as_account(server, "laptop"), LETTER)

    assert (barred.value.message, barred.value.hint) == (NameTaken().message, NameTaken.hint)
    assert server.done == []


@pytest.mark.parametrize(
    ("says", "told"),
    [(NotAllowed("No.", hint="Ask."), Barred), (StoreFull("Full."), StoreFull)],
)
async def test_who_may_not_be_registered_now_or_ever_is_told_which_it_is(server, says, told):
    async def refused(*_):
        raise says

    server.replace = refused
    for call in (
        be_known(as_account(server, None), LETTER),
        hand_on(server, OVER, Known()),
        hand_on(server, LETTER, Known(BadInput("No."))),
    ):
        with pytest.raises(told) as failed:
            await call
        assert type(failed.value) is told
        assert failed.value.message == says.message
        assert failed.value.hint == says.hint
