# SPDX-License-Identifier: Apache-2.0
"""The checker finds each kind of broken promise in a forged ledger, and none in an honest one."""

import re
from dataclasses import replace
from pathlib import Path

import checker
import faults
import pytest
import soak  # noqa: F401  # with all the faults that a run knows
from checker import check
from choices import FAULTS, SHARED_FAULTS, Choices
from held import Archived, Contents, Lane, Record
from ledger import (
    Call,
    Claimed,
    Ended,
    Fault,
    Ledger,
    Looked,
    Pulse,
    Said,
    Shown,
    Stalled,
    Told,
    Tried,
    Trouble,
)
from ledger import Sent as Receipt
from table import stories, table

TASK = "t1"
DONE = Record("completed", "done", ("stored", "claimed", "completed"))


def sent(at=2.0, task=TASK, lane="normal", **more):
    token = f"pat-{task}"
    return [
        Tried(at - 0.2, token),
        Receipt(at, task, at - 0.1, "pat", "pat#1", "ana", lane, token, **more),
    ]


def claimed(at, session="ana-1#1", *, task=TASK, place=0, attempt=1):
    return Claimed(at, task, at - 0.1, "ana", session, attempt, new=True, place=place)


def said(at, status="completed", session="ana-1#1", token="done", *, outcome="stored", task=TASK):
    agent = "pat" if status == "cancelled" else "ana"
    return Said(at, task, at - 0.1, agent, session, status, token, outcome)


def shown(at, state="completed", task=TASK):
    return Shown(at, task, "pat", "pat#1", state)


HONEST = [*sent(), claimed(3.0), said(4.0), shown(5.0)]


def asked(*then):
    """Return a task about which its worker asks, and which is answered, with what comes then."""
    reply = Said(5.0, TASK, 4.9, "pat", "pat#1", "answered", "reply-t1-1", "stored")
    return [*sent(), claimed(3.0), said(4.0, "needs_input"), reply, *then]


def told(at, session="ana-1#1"):
    return Told(at, TASK, "ana", session, "reply-t1-1")


def broken(entries, records=None, **more):
    """Return the kinds of what is found wrong with these entries."""
    ledger = Ledger()
    for entry in entries:
        ledger.add(entry)
    records = {TASK: DONE} if records is None else records
    more.setdefault("sent", {entry.task: entry.token for entry in ledger.all(Receipt)})
    return {violation.kind for violation in check(ledger, Contents(records, **more))}


def test_an_honest_ledger_breaks_nothing():
    assert broken(HONEST) == set()


def test_what_an_honest_run_may_contain_besides_breaks_nothing():
    """A kill and another's claim, a late end, a withdrawal, a release, a stall, a repeated word."""
    killed = [claimed(3.0), Ended(3.5, "ana-1#1", "SIGKILL"), claimed(9.0, "ana-2#1", attempt=2)]
    assert broken([*sent(), *killed, said(9.5, session="ana-2#1"), shown(10.0)]) == set()

    late = Record("completed", "done", ("stored", "claimed", "expired", "completed"))
    assert broken([*HONEST, shown(4.5, "expired")], {TASK: late}) == set()

    withdrawn = Record("cancelled", "no", ("stored", "cancelled"))
    assert broken([*sent(), said(3.0, "cancelled", "pat#1", "no")], {TASK: withdrawn}) == set()

    back = [claimed(3.0), said(3.5, "released"), claimed(4.0, "ana-2#1", attempt=2)]
    assert broken([*sent(), *back, said(5.0, session="ana-2#1"), shown(6.0)]) == set()

    asleep = [claimed(3.0), Stalled(3.1, "ana-1#1", 33.0), claimed(30.0, "ana-2#1")]
    assert broken([*sent(), *asleep, said(31.0, session="ana-2#1"), shown(32.0)]) == set()

    calling = [claimed(3.0), Call(40.0, 4.0, "ana-1#1", "publish_result", "stored")]
    unheard = [*calling, Fault(4.1, "kill_listener", "pid 7", 4.2), claimed(30.0, "ana-2#1")]
    busy = [*unheard, Pulse(5.0, 4.0, 30.0)]
    assert broken([*sent(), *busy, said(41.0, session="ana-2#1"), shown(42.0)]) == set()
    of_another = [each for each in busy if not isinstance(each, Fault)]
    assert broken([*sent(), *of_another, said(41.0, session="ana-2#1"), shown(42.0)]) == {
        "two holders"
    }

    # The receipt was late; and one of two was in another session's hands for a moment.
    assert broken([*sent(3.2), claimed(3.0), Looked(3.4, 3.3, "ana", "ana-2#1", ("ana",), 5),
                   Fault(20.0, "kill_server"), said(4.0), shown(5.0)]) == set()  # fmt: skip
    meanwhile = [Looked(2.9, 2.8, "ana", "ana-2#1", ("ana",), 0),
                 Call(2.9, 2.8, "ana-2#1", "read_inbox", "stored")]  # fmt: skip
    swapped = [
        *sent(),
        *sent(1.0, "t2"),
        *meanwhile,
        claimed(3.0),
        claimed(3.0, task="t2", place=1),
    ]
    ends = [said(4.0), said(4.0, task="t2"), shown(5.0), shown(5.0, task="t2")]
    assert broken([*swapped, *ends], {TASK: DONE, "t2": DONE}) == set()

    # It is told the next time; its worker has died, or has not waited.
    end = [said(9.0), shown(10.0)]
    assert broken(asked(claimed(6.0), told(6.0), claimed(7.0), *end)) == set()
    assert broken(asked(said(5.5, "working"), claimed(6.0), *end)) == set()
    other = claimed(8.0, "ana-2#1", attempt=2), told(8.0, "ana-2#1")
    ends = said(9.0, session="ana-2#1"), shown(10.0)
    assert broken(asked(Ended(5.5, "ana-1#1", "SIGKILL"), *other, *ends)) == set()

    again = [said(4.0), said(4.2), said(4.4, "failed", token="other", outcome="refused")]
    assert broken([*sent(), claimed(3.0), *again, shown(5.0)]) == set()


FORGED = {
    "not archived": ([*HONEST], {"archived": {}}),
    "lost": ([*HONEST], {"records": {}, "sent": {}}),
    "unended": ([*sent()], {"records": {TASK: Record("claimed", "", ("stored", "claimed"))}}),
    "unseen": ([*sent(), claimed(3.0), said(4.0)], {}),
    "two ends": (
        [*HONEST],
        {"records": {TASK: Record("completed", "done", ("claimed", "failed", "completed"))}},
    ),
    "wrong end": ([*HONEST], {"records": {TASK: Record("completed", "else", ("completed",))}}),
    "stored twice": ([*HONEST], {"sent": {TASK: "pat-t1", "t2": "pat-t1"}}),
    "ghost": ([*HONEST], {"sent": {TASK: "pat-t1", "t2": "nobody's"}}),
    "two holders": ([*HONEST, claimed(3.5, "ana-2#1")], {}),
    "early": ([*sent(due=9.0), claimed(3.0), said(4.0), shown(5.0)], {}),
    "order": (
        [
            *HONEST[:-3], *sent(1.0, "t2"), claimed(3.0), claimed(3.0, task="t2", place=1),
            said(4.0), said(4.0, task="t2"), shown(5.0), shown(5.0, task="t2"),
        ],
        {"records": {TASK: DONE, "t2": DONE}},
    ),
    "passed over": (
        [*HONEST, Looked(2.8, 2.5, "ana", "ana-2#1", ("ana",), 5), Fault(20.0, "kill_server")],
        {},
    ),
    "not told": (asked(claimed(6.0), claimed(7.0), told(7.0), said(9.0), shown(10.0)), {}),
    "slow": ([*HONEST, Call(40.0, 12.0, "ana-1#1", "read_inbox", "stored")], {}),
    "counts": ([*HONEST], {"lanes": (Lane("ana", "low", stored=2, pending=1, held=0),)}),
    "left over": ([*HONEST], {"waiting": {TASK: ("ana", "normal")}}),
    "no answer": ([*HONEST, Call(40.0, 12.0, "ana-1#1", "read_inbox", "none")], {}),
    "bug": ([*HONEST, Trouble(9.0, "bug", "it says that it is one")], {}),
}  # fmt: skip


@pytest.mark.parametrize(("where", "found"), [("@pi", set()), ("@laptop", {"not told"})])
def test_what_a_user_has_approved_is_told_where_that_user_is(where, found):
    asker, next_one = "ana-1#1@laptop", f"ana-2#1{where}"
    approval = Said(5.0, TASK, 4.9, "user", "user@laptop", "approved", "reply-t1-1", "stored")
    entries = [
        *sent(), claimed(3.0, asker), said(4.0, "needs_approval", asker), approval,
        said(5.5, "released", asker), claimed(6.0, next_one), said(9.0, session=next_one),
        shown(10.0),
    ]  # fmt: skip

    assert broken(entries) == found


@pytest.mark.parametrize("outcome", ["unknown", "refused"])
@pytest.mark.parametrize("ago_s", [10.0, 60.0])
def test_what_was_lost_just_now_may_still_be_offered_though_it_is_over(ago_s, outcome):
    unsure = Said(4.0, TASK, 3.9, "ana", "ana-1#1", "completed", "ana-1#1 completed", outcome)
    entries = [*HONEST, unsure, Call(4.0 + ago_s, 3.9 + ago_s, "ana-1#1", "read_inbox", "stored")]

    assert broken(entries, waiting={TASK: ("ana", "normal")}) == (
        {"left over"} if ago_s > 45.0 else set()
    )


@pytest.mark.parametrize("kind", FORGED)
def test_each_kind_of_broken_promise_is_found_and_no_other(kind):
    entries, more = FORGED[kind]

    assert broken(entries, **more) == {kind}


def test_there_is_a_forgery_for_each_kind_that_the_checker_knows():
    kinds = set(re.findall(r'Violation\(\s*"([a-z ]+)"', Path(checker.__file__).read_text()))

    assert kinds | {"slow", "no answer", "bug"} == set(FORGED)


@pytest.mark.parametrize(
    ("entries", "records"),
    [
        ([*HONEST, said(4.5, "failed", token="x")], None),
        ([*HONEST, said(4.5, "cancelled", "pat#1", "no")], None),
        ([*HONEST[:-1], shown(5.0, "failed")], None),
        ([*sent(), claimed(3.0), shown(5.0)], None),
    ],
)
def test_an_end_beside_the_one_on_record_is_found(entries, records):
    assert broken(entries, records) & {"two ends", "wrong end"}


def test_what_a_dead_session_held_may_be_looked_for_in_vain_for_a_while_and_not_for_long():
    def look(at):
        again = [claimed(90.0, "ana-2#1", attempt=2), said(91.0, session="ana-2#1"), shown(92.0)]
        seen = Looked(at, at - 0.2, "ana", "ana-2#1", ("ana",), 3)
        killed = [Fault(1.0, "kill_session"), Ended(9.0, "ana-1#1", "SIGKILL")]
        return broken([*sent(), claimed(3.0), *killed, seen, *again])

    assert look(30.0) == set()
    assert look(60.0) == {"passed over"}


def test_an_answer_may_take_as_much_longer_as_the_machine_is_slow():
    late, at_leisure = Call(40.0, 12.0, "cy", "read_inbox", "stored"), Pulse(20.0, 19.0, 3.0)

    assert broken([*HONEST, late, at_leisure]) == set()
    assert broken([*HONEST, late, Pulse(2.0, 1.0, 3.0)]) == {"slow"}


def test_what_is_listed_as_waiting_is_what_nobody_holds():
    def listed(count, state):
        records = {TASK: DONE, "t2": Record(state, "", ("stored", state))}
        there = {"waiting": {"t2": ("ana", "low")}, "lanes": (Lane("ana", "low", 1, 1, 0),)}
        return broken(HONEST, records, **there, listed={"ana": count})

    assert listed(1, "released") == listed(1, "working") == listed(0, "working") == set()
    assert listed(0, "released") == listed(2, "working") == {"counts"}


def test_high_comes_before_low_in_one_answer():
    both = [*sent(1.0, "t2", lane="low"), *sent(2.0, lane="high")]
    answer = [claimed(3.0, task="t2", place=0), claimed(3.0, place=1)]
    ends = [said(4.0), said(4.0, task="t2"), shown(5.0), shown(5.0, task="t2")]

    assert broken([*both, *answer, *ends], {TASK: DONE, "t2": DONE}) == {"order"}


def test_what_another_process_of_a_shell_has_claimed_before_is_shown_first():
    both = [*sent(1.0, "t2", lane="low"), *sent(2.0, lane="high")]
    answer = [claimed(3.0, "shell:ana", task="t2", place=0), claimed(3.0, "shell:ana", place=1)]
    ends = [said(4.0), said(4.0, task="t2"), shown(5.0), shown(5.0, task="t2")]
    records = {TASK: DONE, "t2": DONE}

    assert broken([*both, *answer, *ends], records) == {"order"}
    earlier = said(1.5, "working", "shell:ana", task="t2", outcome="unknown")
    assert broken([*both, earlier, *answer, *ends], records) == set()


def test_what_a_look_that_failed_has_claimed_is_shown_first():
    both = [*sent(1.0, "t2", lane="low"), *sent(2.0, lane="high")]
    answer = [claimed(3.0, task="t2", place=0), claimed(3.0, place=1)]
    ends = [said(4.0), said(4.0, task="t2"), shown(5.0), shown(5.0, task="t2")]
    look = Looked(6.0, 5.9, "ana", "ana-1#1", ("ana",), 3)

    def after(outcome):
        failed = Call(1.9, 1.2, "ana-1#1", "read_inbox", outcome)
        return broken([*both, failed, *answer, *ends, look], {TASK: DONE, "t2": DONE})

    assert after("unknown") == set()
    assert after("stored") == {"order"}


def test_what_is_sent_during_a_look_may_come_last_in_it():
    both = [*sent(1.0, "t2", lane="low"), *sent(2.95, lane="high")]
    answer = [claimed(3.0, task="t2", place=0), claimed(3.0, place=1)]
    ends = [said(4.0), said(4.0, task="t2"), shown(5.0), shown(5.0, task="t2")]

    assert broken([*both, *answer, *ends], {TASK: DONE, "t2": DONE}) == set()


def test_what_somebody_had_and_lost_is_out_of_its_order_though_nobody_told_of_its_looks():
    both = [*sent(1.0), *sent(3.0, "t2")]
    had = [
        claimed(2.0),
        Call(2.0, 1.9, "ana-1#1", "read_inbox", "stored"),
        Ended(4.0, "ana-1#1", ""),
    ]
    answer = [claimed(9.0, "ana-2#1", task="t2"), claimed(9.0, "ana-2#1", place=1)]
    ends = [said(9.5, session="ana-2#1"), said(9.5, task="t2", session="ana-2#1")]
    seen = [shown(9.9), shown(9.9, task="t2")]
    records = {TASK: DONE, "t2": DONE}

    assert broken([*both, *answer, *ends, *seen], records) == {"order"}
    assert broken([*both, *had, *answer, *ends, *seen], records) == set()


def test_a_story_tells_the_task_its_times_and_the_faults_around_them():
    ledger = Ledger()
    for entry in [*HONEST[:-1], Fault(3.4, "kill_server", "pid 7", 3.9), Fault(60.0, "full_disk")]:
        ledger.add(entry)
    contents = Contents({TASK: DONE}, {TASK: "pat-t1"})
    found = check(ledger, contents)

    told = stories(ledger, found)

    assert "unseen" in told
    assert TASK in told
    assert "kill_server pid 7" in told
    assert "full_disk" not in told
    assert "unseen 1" in table(ledger, contents, [], found)


def test_the_same_seed_makes_the_same_choices_and_another_makes_others():
    def first(seed):
        choices = Choices(seed)
        errands = choices.errands("pat")
        return choices.faults(600), [next(errands) for _ in range(50)]

    assert first(7) == first(7)
    assert first(7) != first(8)


def test_within_a_minute_and_a_half_of_faults_each_kind_comes_once():
    assert {fault.kind for fault in Choices(7).faults(90)} == set(FAULTS)


def test_each_fault_that_may_be_chosen_is_one_that_can_be_carried_out():
    assert set(FAULTS) | set(SHARED_FAULTS) == set(faults.FAULTS)


@pytest.mark.parametrize(
    ("state", "states", "kinds"),
    [
        ("completed", DONE.states, set()),
        ("working", DONE.states, {"not archived"}),
        ("completed", DONE.states[:-1], {"not archived"}),
    ],
)
def test_what_the_archive_lacks_is_told(state, states, kinds):
    known = {TASK: Archived(state, frozenset(states))}

    assert broken(HONEST, archived=known) == kinds


def test_what_is_handed_on_comes_in_the_order_of_its_sender_alone():
    here, later = sent(1.0, is_here=True), sent(2.0, "t2")
    answer = [claimed(9.0, task="t2", place=0), claimed(9.0, place=1)]
    ends = [said(9.5), said(9.5, task="t2"), shown(9.9), shown(9.9, task="t2")]
    others = [later[0], replace(later[1], sender="sam", session="sam#1")]
    records = {TASK: DONE, "t2": DONE}

    assert broken([*here, *later, *answer, *ends], records) == {"order"}
    unlistened = Fault(1.5, "kill_listener")
    assert broken([*here, *later, unlistened, *answer, *ends], records) == set()
    assert (
        broken([*here, *others, *answer, *ends[:-1], replace(ends[-1], agent="sam")], records)
        == set()
    )


def test_what_is_handed_on_waits_for_its_sender_s_link_besides():
    here = [*sent(2.0), Fault(1.0, "away", "20 s", 21.0)]
    here[1] = replace(here[1], session="pat#1@laptop", is_here=True)
    looks = [Looked(60.0, 59.0, "ana", "ana-1#1", ("ana",), 3)]
    ends = [claimed(62.0), said(63.0), shown(64.0)]

    assert broken([*here, *looks, *ends]) == {"passed over"}
    assert broken([*here, Stalled(2.0, "@pi", 22.0), *looks, *ends]) == {"passed over"}
    assert broken([*here, Stalled(2.0, "@laptop", 22.0), *looks, *ends]) == set()
