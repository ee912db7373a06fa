# SPDX-License-Identifier: Apache-2.0
"""What is written, told to the server and remembered as claims are found, given back and passed on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import strategies
from messages import TASK, read_record, read_task
from test_claims import DELIVERY

from mcp_agentbus.bus.replies import Delivery, Found
from mcp_agentbus.core import text
from mcp_agentbus.errors import Unconfirmed
from mcp_agentbus.handoff import claim as finding
from mcp_agentbus.handoff import claims as module
from mcp_agentbus.handoff.call import Calls, Given
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.dispatch import cause
from mcp_agentbus.handoff.dispatch.cause import CAUSE_LINGERS_S, Finished
from mcp_agentbus.handoff.intake.references import number_of, reference_of
from mcp_agentbus.store import subjects
from mcp_agentbus.store.records import Written, record_key
from mcp_agentbus.store.steps import Write
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import Moment

AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)
NOW = AT + timedelta(hours=1)
OFFERED = [("give_back", DELIVERY), ("send", subjects.back_subject("coder"), b"", {})]
FINISHED = [("finish", DELIVERY)]
LATE = "While this session's process goes on, a result is stored, marked late."
MINE = {"state": "claimed", "session": "session-1", "attempts": 2, "updated_at": AT}


def recorded(task_id="t1", **changes):
    """Return the record of a task that session-1 has claimed."""
    return read_record().model_copy(update={**MINE, "task_id": task_id, **changes})


def claim(task_id="t1", **changes):
    return Claim(read_task(id=task_id), DELIVERY, recorded(task_id, **changes), 4)


def delivery(task_id, seq):
    return replace(DELIVERY, data=strategies.spelt({**TASK, "id": task_id}), seq=seq)


class Bus:
    """Notes what is told to a server, which has handed out what stands in `out`."""

    def __init__(self):
        self.said, self.out = [], {}

    async def finish(self, delivery):
        self.said.append(("finish", delivery))

    async def give_back(self, delivery):
        self.said.append(("give_back", delivery))

    async def send(self, *what):
        self.said.append(("send", *what))

    async def handed_out(self, *where):
        self.said.append(("handed_out", *where))
        return self.out.get(where[1], [])


@pytest.fixture
def bus():
    return Bus()


@pytest.fixture
def claims(bus):
    return Claims(bus, "coder", "session-1")


@pytest.fixture(autouse=True)
def stored(monkeypatch):
    """Have these records be stored, by task id, each with its revision; note each change of them."""
    stored, changed = {}, []

    async def read(_, owner, inbox, task_id):
        assert (owner, inbox) == ("planner", "coder")
        return stored.get(task_id, (None, 0))

    async def update(_, key, change, known=None):
        task_id = next(
            each for each in (*stored, "t1") if key == record_key("planner", "coder", each)
        )
        outcome = change(stored.get(task_id, (None, 0))[0])
        is_written = isinstance(outcome, Write)
        changed.append((known, outcome.value if is_written else None))
        return Written(outcome.value, 9) if is_written else outcome

    for each in (finding, module):
        monkeypatch.setattr(each, "read_record", read)
    monkeypatch.setattr(module, "update", update)
    monkeypatch.setattr(text, "now", lambda: NOW)
    monkeypatch.setattr(cause, "time", SimpleNamespace(monotonic=lambda: 5000.0))
    return SimpleNamespace(records=stored, changed=changed)


@pytest.mark.parametrize(
    ("counted", "attempts"),
    [
        ((True, "claimed"), 2),
        ((False, "claimed"), 1),
        ((True, "working"), 2),
        ((False, "working"), 2),
    ],
)
async def test_what_is_given_back_is_offered_again_and_counts_if_its_worker_said_so_or_anything(
    claims, bus, stored, counted, attempts
):
    counts, state = counted
    held = claims.hold(claim(state=state))
    stored.records["t1"] = standing, _ = (held.record, 4)

    await claims.give_back(held, counts=counts, reason="why", note="its note")

    moment = Moment(state="stored", at=NOW, by="coder", reason="why", note="its note")
    given = standing.model_copy(
        update={
            "state": "stored", "session": "", "attempts": attempts, "reason": "why",
            "updated_at": NOW, "history": (*standing.history, moment),
        }
    )  # fmt: skip
    assert stored.changed == [((held.record, 4), given)]
    assert (bus.said, list(claims)) == (OFFERED, [])


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (None, []),
        (recorded(state="completed"), FINISHED),
        (recorded(state="stored", session=""), OFFERED),
        (recorded(session="session-2"), []),
    ],
    ids=["lost", "over", "offered again", "taken over"],
)
async def test_what_is_no_longer_held_is_let_go_as_it_stands(claims, bus, stored, standing, said):
    held = claims.hold(claim())
    stored.records["t1"] = (standing, 7)

    await claims.give_back(held, counts=True, reason="why")

    assert stored.changed == [((held.record, 4), None)]
    assert (bus.said, list(claims)) == (said, [])


async def test_all_that_is_given_back_at_once_is_offered_again_and_no_attempt(claims, stored):
    for task_id in ("t1", "t2"):
        stored.records[task_id] = (claims.hold(claim(task_id)).record, 4)

    await claims.give_all_back("its session ended")

    back = [(value.task_id, value.attempts, value.reason) for _, value in stored.changed]
    assert back == [("t1", 1, "its session ended"), ("t2", 1, "its session ended")]
    assert list(claims) == []


async def test_a_look_at_claims_lets_those_go_that_are_not_held_any_more_and_says_why(
    claims, bus, stored
):
    """In this order: lost, as it was, changed by a write of ours, over, taken over, and too late."""
    held = [claims.hold(claim(task_id)) for task_id in ("t1", "t2", "t3", "t4", "t5", "t6")]
    ours = recorded("t3", state="working")
    stored.records |= {
        "t2": (held[1].record, 4),
        "t3": (ours, 5),
        "t4": (recorded("t4", state="cancelled"), 5),
        "t5": (recorded("t5", session="session-2"), 5),
        "t6": (recorded("t6", state="expired"), 5),
    }

    notes = await claims.check(held)

    assert notes == [
        "Task t4 is over: cancelled. This session no longer holds it.",
        "Task t5 was taken over by another session while this one did not answer.",
        f"Task t6 is over: expired. This session no longer holds it. {LATE}",
    ]
    assert list(claims.values()) == [*held[:2], replace(held[2], record=ours, revision=5)]
    assert (claims.expired, bus.said) == ({"t6": held[5]}, FINISHED * 2)
    claims.end(held[5].task)
    assert claims.expired == {}


@pytest.fixture
async def unsure(claims, monkeypatch):
    """Return a claim that was to be given back, which nobody has confirmed."""

    async def unconfirmed(*_, **__):
        raise Unconfirmed("The server went away.")

    with monkeypatch.context() as away:
        away.setattr(module, "update", unconfirmed)
        with pytest.raises(Unconfirmed):
            await claims.give_back(claims.hold(claim()), counts=True, reason="why")
    return claims["t1"]


async def test_what_may_be_given_back_by_a_write_under_way_is_written_again_before_it_is_held(
    claims, unsure, stored
):
    stored.records["t1"] = (unsure.record, 4)

    notes = await claims.check([unsure])

    assert stored.changed == [((unsure.record, 4), unsure.record)]
    assert (notes, claims["t1"]) == ([], replace(unsure, revision=9, unsure=False))


@pytest.mark.parametrize(
    ("standing", "said", "note"),
    [
        ({"state": "stored", "session": ""}, OFFERED, "was given back, as was asked"),
        ({"session": "session-2"}, [], "was given back, as was asked"),
        ({"state": "completed"}, FINISHED, "is over: completed"),
    ],
)
async def test_what_was_given_back_after_all_is_let_go_and_offered_again(
    claims, bus, unsure, stored, *, standing, said, note
):
    stored.records["t1"] = (recorded(**standing), 5)

    [told] = await claims.check([unsure])

    assert told.startswith(f"Task t1 {note}")
    assert (bus.said, list(claims)) == (said, [])


async def test_what_the_records_say_is_held_is_found_in_the_order_in_which_it_was_claimed(
    claims, bus, stored
):
    def claimed(task_id, minute, **changes):
        at = AT + timedelta(minutes=minute)
        moment = Moment(state="claimed", at=at, by="coder")
        stored.records[task_id] = (recorded(task_id, history=(moment,), **changes), 10 + minute)

    claimed("t1", 2)
    claimed("t2", 1, state="needs_approval")
    claimed("t3", 3, state="working")
    claimed("t4", 0, session="session-2")
    claimed("t5", 0, state="completed")
    out = [delivery(f"t{seq}", seq) for seq in range(1, 7)]
    bus.out = {"coder_high": out[:3], "role-review_low": out[3:], "coder_low": [DELIVERY]}

    await claims.find(["coder", "role-review"])

    taken = {each.seq: each for each in out}
    assert list(claims.values()) == [
        Claim(
            task=read_task(id=task_id), delivery=taken[seq], record=stored.records[task_id][0],
            revision=revision, number=number, found=True,
        )
        for number, (task_id, seq, revision) in enumerate(
            [("t2", 2, 11), ("t1", 1, 12), ("t3", 3, 13)], 1
        )
    ]  # fmt: skip
    given = [claims.given(each) for each in ("t2", "t1", "t3")]
    assert given == [Given(AT), None, None]
    assert bus.said == [
        ("handed_out", TASKS, f"{inbox}_{lane}", subjects.task_subject(inbox, lane, "*"))
        for inbox in ("coder", "role-review")
        for lane in ("high", "normal", "low")
    ]
    at_once = replace(claims["t1"], record=recorded(updated_at=NOW))
    assert not claims.missed(at_once)


@pytest.mark.parametrize(("seq", "token"), [(7, DELIVERY.token), (8, "")])
async def test_a_claim_that_was_not_found_is_taken_up_as_it_is_stored(bus, monkeypatch, seq, token):
    record, asked = recorded(priority="high"), []
    message = Found(DELIVERY.subject, seq, AT, {"Agentbus-Task": "t1"}, b"{}")

    async def find(*what):
        asked.append(what)
        return read_task(), message

    monkeypatch.setattr(finding.read_back, "find", find)
    bus.out = {"coder_high": [DELIVERY]}

    taken = await finding.by_record(bus, record, 6)

    assert taken == Claim(
        task=read_task(), record=record, revision=6, number=0, found=True,
        delivery=Delivery(
            message.subject, message.data, message.headers, token, TASKS, seq,
            taken.delivery.offered, AT, taken.delivery.waiting,
        ),
    )  # fmt: skip
    assert asked == [(bus, record)]
    assert bus.said == [("handed_out", TASKS, "coder_high", DELIVERY.subject)]


async def test_what_is_stored_no_more_is_not_taken_up(bus, monkeypatch):
    async def find(*_):
        return None

    monkeypatch.setattr(finding.read_back, "find", find)

    assert await finding.by_record(bus, recorded(), 6) is None


async def test_a_later_process_holds_what_is_held_still_and_knows_what_its_reader_has(
    claims, stored, monkeypatch
):
    """In this order: given, not given, taken over, gone, no time, and no reference."""
    kept = {seq: read_task(id=f"t{seq}") for seq in (1, 2, 3, 5)}
    stored.records |= {f"t{seq}": (recorded(f"t{seq}"), 20 + seq) for seq in (1, 2, 5)}
    stored.records["t3"] = (recorded("t3", session="session-2"), 23)

    async def there(_, delivery):
        return kept.get(delivery.seq)

    monkeypatch.setattr(finding.read_back, "behind", there)
    references = [reference_of(replace(DELIVERY, seq=seq)) for seq in range(1, 6)]
    references[0] |= {"given_at": AT.isoformat()}
    references[4] |= {"given_at": "soon"}
    given_up = Calls().given_up()

    await claims.take_over([*references, {}], given_up)

    assert list(claims.values()) == [
        Claim(
            task=kept[seq], delivery=replace(DELIVERY, data=b"", headers={}, seq=seq),
            record=stored.records[f"t{seq}"][0], revision=20 + seq, number=number, found=True,
        )
        for number, seq in enumerate((1, 2, 5), 1)
    ]  # fmt: skip
    assert [claims.given(each) for each in claims] == [Given(AT, given_up), None, None]


async def test_another_session_has_all_that_is_handed_over_and_of_the_rest_the_server_is_told(
    claims, bus, stored
):
    held = [claims.hold(claim(task_id)) for task_id in ("t1", "t2", "t3", "t4")]
    claims.give(["t2"], Calls().begin())
    stored.records |= {
        "t1": (held[0].record, 4),
        "t2": (recorded("t2", state="completed"), 5),
        "t3": (recorded("t3", state="stored", session=""), 5),
        "t4": (None, 0),
    }

    references = await claims.hand_over("session-2")

    of_t1 = held[0].record.model_copy(update={"session": "session-2"})
    assert references == [reference_of(DELIVERY, at) for at in (None, NOW, None, None)]
    assert stored.changed == [
        ((each.record, 4), value) for each, value in zip(held, [of_t1, *[None] * 3], strict=True)
    ]
    assert bus.said == [*FINISHED, *OFFERED]
    assert list(claims) == []


def test_what_a_session_ended_is_a_cause_from_then_on_whatever_its_clock_is_set_to(claims):
    for at, ago_s in ((NOW - timedelta(seconds=90), 90), (NOW + timedelta(hours=1), 0)):
        claims.recall(["planner"], 2, at)
        assert claims.ways.deepest == Finished(("planner",), 2, at, 5000.0 - ago_s)

    held = claims.hold(claim())
    claims.end(held.task.model_copy(update={"chain": ("boss", "planner"), "hops": 3}))
    assert claims.ways.deepest == Finished(("boss", "planner"), 3, NOW, 5000.0)
    assert list(claims) == []


@pytest.mark.parametrize(("ago_s", "lingers"), [(0.5, True), (0, False)])
def test_an_end_is_a_cause_until_its_time_is_over(claims, ago_s, lingers):
    claims.recall(["planner"], 2, NOW - timedelta(seconds=CAUSE_LINGERS_S - ago_s))

    assert claims.cause() == ((("planner",), 2) if lingers else ((), -1))


def test_claims_are_numbered_from_one_and_without_a_cursor_all_come_after(claims):
    fresh = claim()

    assert (fresh.number, fresh.found, number_of(None)) == (0, False, -1)
    assert [claims.hold(claim(each)).number for each in ("t1", "t2")] == [1, 2]
    assert claims.cursor("t2") == "claim-2"
