# SPDX-License-Identifier: Apache-2.0
"""What a call to send answers where an inbox, the bus or the call itself is not as it must be."""

from types import SimpleNamespace

import pytest
from sending import AWAY, Outbox, Sender
from server_stand_in import NOON

from mcp_agentbus.errors import (
    BadInput,
    BusUnreachable,
    InboxFull,
    NotAccepted,
    StoreFull,
    Unconfirmed,
)
from mcp_agentbus.handoff.dispatch import outgoing
from mcp_agentbus.handoff.dispatch.receipts import receipt_of
from mcp_agentbus.store.outbox.outbox import Envelope, KeptHere
from mcp_agentbus.store.roster import Entry


@pytest.fixture
def sender(monkeypatch, tmp_path):
    return Sender(monkeypatch, tmp_path)


@pytest.mark.parametrize("count", [1, 2])
async def test_who_is_not_taken_is_told_so_and_so_is_whoever_looks_after_the_addressee(
    sender, count
):
    sender.entries["coder"] = Entry("coder", "listening", accept_from=("lead",))
    to = ["coder", "tester"][:count]
    if count == 1:
        with pytest.raises(NotAccepted, match="coder takes tasks of lead only"):
            await sender(to)
    else:
        assert [each.state for each in await sender(to)] == ["refused", "stored"]

    assert ("agentbus.coder.refused.planner", b"", {}) in sender.server.done
    assert len(sender.server.done) == count


async def test_who_is_not_taken_is_told_so_though_nobody_else_can_be(sender):
    sender.entries["coder"] = Entry("coder", "listening", accept_from=("lead",))

    async def away(*_):
        raise BusUnreachable

    sender.server.send = away
    with pytest.raises(NotAccepted):
        await sender()


async def test_what_the_roster_said_a_moment_ago_goes_into_the_receipt_of_one(sender):
    sender.recently = {"coder", "tester"}
    [receipt] = await sender()
    looked = [each for each in sender.asked if each[0] == "entry"]
    both = await sender(["coder", "tester"])

    assert (receipt.recipient, looked) == ("listening", [])
    assert [each.recipient for each in both] == ["listening", "offline"]


async def test_all_are_those_that_the_roster_has(sender):
    receipts = await sender("all")

    assert [each.to for each in receipts] == ["coder", "tester"]
    assert ["all"] in sender.asked


@pytest.mark.parametrize("known", [{"coder"}, set()])
async def test_what_an_inbox_refuses_is_the_error_of_one_and_a_receipt_of_several(sender, known):
    sender.recently = known
    full = sender.server.refuses["coder"] = InboxFull("coder's inbox is full.", hint="Wait.")
    with pytest.raises(InboxFull) as refused:
        await sender()
    receipts = await sender(["coder", "tester"])

    assert refused.value is full
    told = [(each.state, each.reason) for each in receipts]
    assert told == [("refused", "coder's inbox is full. Wait."), ("stored", "")]


AGAIN = "Call again with request_id='own': what is stored already is not stored twice."
SOME = "It is stored for some of the addressees only."


@pytest.mark.parametrize(
    ("refuses", "kind", "told", "hint"),
    [
        ({"coder": AWAY, "tester": AWAY}, BusUnreachable, AWAY.message, "Wait."),
        ({"coder": AWAY}, Unconfirmed, f"{SOME} No bus server answers.", f"{AGAIN} Wait."),
        ({"coder": AWAY, "tester": InboxFull()}, BusUnreachable, AWAY.message, "Wait."),
        (
            {"coder": AWAY, "tester": Unconfirmed("No word.", mend="Mend it.")}, Unconfirmed,
            "No word.", f"{AGAIN} Mend it.",
        ),
        ({"coder": Unconfirmed("No word.")}, Unconfirmed, "No word.", AGAIN),
    ],
)  # fmt: skip
async def test_what_is_true_of_the_whole_call_is_its_error_with_how_to_repeat_it(
    sender, refuses, kind, told, hint
):
    sender.server.refuses = refuses
    with pytest.raises(kind) as failed:
        await sender(["coder", "tester"])

    assert type(failed.value) is kind
    assert (failed.value.message, failed.value.hint) == (told, hint)


@pytest.mark.parametrize("to", ["coder", ["coder", "tester"]])
async def test_a_bug_is_no_receipt(sender, to):
    sender.server.refuses = {"coder": ValueError("a bug"), "tester": AWAY}
    with pytest.raises(ValueError, match="a bug"):
        await sender(to)


@pytest.mark.parametrize("behind", [True, False], ids=["behind others", "out of reach"])
async def test_what_the_bus_cannot_take_yet_is_kept_here_in_order_and_counts_as_sent(
    sender, behind
):
    outbox = sender.kept_by(Outbox(waits=behind))
    sender.fails = AWAY
    receipts = await sender(["coder", "role:review"])

    tasks = [sender.task("coder", at=NOON), sender.task("role-review", at=NOON)]
    why = outgoing.BEHIND_OTHERS if behind else "No bus server answers."
    here = KeptHere(duplicate=False, why=why)
    assert outbox.kept == tasks
    assert receipts == (
        receipt_of("coder", None, tasks[0], here), receipt_of("role:review", None, tasks[1], here),
    )  # fmt: skip
    assert (sender.counted, sender.stored) == ([("planner", 2)], [])
    assert sender.asked == ([] if behind else ["called"])


FULL = StoreFull("The disk is full. Nothing was stored.", hint="Make room.")


@pytest.mark.parametrize(
    ("taken", "local", "kind", "told"),
    [
        (
            2,
            FULL,
            Unconfirmed,
            (
                "waits here, too, and goes first. Nor could it be kept here: The disk is full.",
                f"{AGAIN} Make room.",
            ),
        ),
        (0, FULL, BusUnreachable, (f"Nor could it be kept here: {FULL.message}", "Make room.")),
        (1, Unconfirmed("Slow."), Unconfirmed, ("Slow.", AGAIN)),
        (0, Unconfirmed("Slow.", mend="End it."), Unconfirmed, ("Slow.", f"{AGAIN} End it.")),
    ],
)
async def test_what_is_kept_here_for_some_only_is_told_with_how_to_repeat_the_call(
    sender, taken, local, kind, told
):
    outbox = sender.kept_by(Outbox(waits=True))
    put = outbox.put

    async def put_some(task, who):
        if len(outbox.kept) == taken:
            raise local
        return await put(task, who)

    outbox.put = put_some
    with pytest.raises(kind) as failed:
        await sender(["coder", "tester", "lead"])

    assert type(failed.value) is kind
    assert failed.value.message.endswith(told[0])
    assert failed.value.hint == told[1]


@pytest.mark.parametrize("has_outbox", [True, False])
@pytest.mark.parametrize("key", [None, "own"])
async def test_what_the_bus_fails_to_store_and_nothing_keeps_here_is_told_and_counted_once(
    sender, monkeypatch, key, has_outbox
):
    async def full(*_):
        raise FULL

    async def nothing(*_, **__):
        return []

    monkeypatch.setattr(outgoing, "read_outbox", nothing)
    sender.server.settings.keeps_outbox = True
    sender.server.refuses["coder"] = AWAY
    if has_outbox:
        sender.session.outbox = Outbox(waits=False)
        sender.session.outbox.put = full
    with pytest.raises(BusUnreachable) as failed:
        await sender(request_id=key)

    nor = f"No bus server answers. Nor could it be kept here: {FULL.message}"
    told = (nor, FULL.hint) if has_outbox else (AWAY.message, f"Wait. {outgoing._NEEDS_LISTENER}")
    assert (failed.value.message, failed.value.hint) == told
    assert sender.counted == [("planner", 1)]


async def test_what_has_an_id_that_another_has_here_is_the_receipt_of_its_addressee_alone(sender):
    outbox = sender.kept_by(Outbox(waits=True))
    put = outbox.put

    async def put_others(task, who):
        if task.to == "coder":
            raise BadInput("It was used for another.")
        return await put(task, who)

    outbox.put = put_others

    told = [each.state for each in await sender(["coder", "tester"])]

    assert told == ["refused", "stored_here"]


@pytest.mark.parametrize(("given", "thread"), [(None, "of-held"), ("own", "own")])
async def test_what_is_kept_here_and_answers_a_held_task_goes_on_in_its_thread(
    sender, monkeypatch, given, thread
):
    held = SimpleNamespace(task=SimpleNamespace(thread_id="of-held"))
    monkeypatch.setattr(sender.session.claims, "get", {"t1": held}.get)
    sender.kept_by(Outbox(waits=True))

    await sender(in_reply_to="t1", thread_id=given)

    assert [each.thread_id for each in sender.session.outbox.kept] == [thread]


@pytest.mark.parametrize(
    ("behind", "told"),
    [
        (True, (f"{outgoing.BEHIND_OTHERS} Who all are only the bus knows. Nothing was stored.",
                "Name those whom you mean, or send it later.")),
        (False, (AWAY.message, AWAY.hint)),
    ],
)  # fmt: skip
async def test_what_is_for_all_is_kept_nowhere(sender, behind, told):
    sender.kept_by(Outbox(waits=behind))
    sender.fails = AWAY
    with pytest.raises(BusUnreachable) as failed:
        await sender("all")

    assert (failed.value.message, failed.value.hint) == told
    assert sender.session.outbox.kept == []


@pytest.mark.parametrize("key", [None, "r1"])
async def test_what_a_listener_that_has_ended_had_kept_is_known_to_who_repeats_the_call(
    sender, monkeypatch, key
):
    async def kept_here(*_, **__):
        return [Envelope(sender.task(key="r1", at=NOON), 1, NOON, True)]

    monkeypatch.setattr(outgoing, "read_outbox", kept_here)
    sender.server.settings.keeps_outbox, sender.fails = True, AWAY
    if key:
        [receipt] = await sender(request_id=key)
        assert (receipt.state, receipt.duplicate) == ("stored_here", True)
    else:
        with pytest.raises(BusUnreachable):
            await sender()


@pytest.mark.parametrize(
    ("to", "told", "hint"),
    [
        ([], "There are 0 addressees.", "Name 1 to 50, or 'all'."),
        ([f"a{n}" for n in range(51)], "There are 51 addressees.", "Name 1 to 50, or 'all'."),
        (["coder", "all"], "'all' stands among other addressees.", "Send to 'all' alone."),
        (["coder", "Not An Id"], "'Not An Id' is not an agent id", ""),
    ],
)
async def test_who_cannot_be_meant_is_refused_before_anything_is_asked(sender, to, told, hint):
    with pytest.raises(BadInput) as refused:
        await sender(to)

    assert refused.value.message.startswith(told)
    assert refused.value.hint.startswith(hint)
    assert sender.asked == []


async def test_fifty_may_be_meant_and_each_is_once(sender):
    names = [f"a{n}" for n in range(50)]

    assert [each.to for each in await sender([*names, "a0"])] == names
