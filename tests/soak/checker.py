# SPDX-License-Identifier: Apache-2.0
"""Whether what was promised came true: the ledger of a run against what its server holds at the end.

    >>> check(ledger, contents)
    [Violation(kind='unended', task='9d0c...', told='...')]

Pure: it asks nobody, and so can be shown any lie. What one session alone was told proves little; each
rule here names the promise that was broken, and who would have noticed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter

from heard import unheard
from held import Contents, has_ended, miscounted, unarchived
from ledger import (
    ENDS,
    Call,
    Claimed,
    Ended,
    Fault,
    Ledger,
    Looked,
    Said,
    Sent,
    Shown,
    Tried,
    Trouble,
)
from order import out_of_order

# Who could do nothing for so long may lose what it holds: a claim lasts 24 s without a sign of its
# session, and a session counts as alive for 15 s; on a busy machine some of that passes unseen.
_LOSES_AFTER_S = 9.0
# What ends a listener, and so long another takes to begin.
_OF_A_LISTENER = {"kill_listener", "term_listener", "listen_replace", "listen_stop", "upgrade"}
_REPLACES_S = 1.0
# What was just stored the server may not hand out yet.
_OFFERED_WITHIN_S = 0.2
# What a dead session held is offered again 30 s after its death; two cores have other work besides.
_BACK_WITHIN_S = 45.0
# A call has 5 s; a process that must begin and load the SDK for it needs some more, and all of them
# as much longer as the machine is slow.
_ANSWERS_WITHIN_S = 12.0
# A command has read the last of what it takes to begin after so long.
_BEGINS_WITHIN_S = 3.0
# What Python says where the package that it was to begin with is being replaced: a file of it is
# missing, or still empty.
_REPLACED = re.compile(
    r"No module named '?mcp_agentbus|cannot import name .* from .*'mcp_agentbus"
    r"|module 'mcp_agentbus[\w.]*' has no attribute|No such file or directory: '\S*/mcp_agentbus/"
)
# How much earlier than asked for a schedule may fall due: what the clocks differ by.
_EARLY_S = 0.1


@dataclass(frozen=True)
class Violation:
    """A promise that was broken."""

    kind: str
    told: str
    task: str = ""
    #: From when to when, where it is about no task.
    span: tuple[float, float] = (0.0, 0.0)


def check(ledger: Ledger, contents: Contents) -> list[Violation]:
    """Return every promise that was broken, by its kind."""
    return [
        *_troubles(ledger),
        *_every_task_ends(ledger, contents),
        *_one_end(ledger, contents),
        *_stored_once(ledger, contents),
        *_one_holder(ledger),
        *_not_early(ledger),
        *_not_expired_early(ledger),
        *(Violation("order", told, task) for task, told in out_of_order(ledger)),
        *_nobody_passed_over(ledger),
        *_slow(ledger),
        *(Violation("not told", told, task) for task, told in unheard(ledger)),
        *(Violation("counts", told) for told in miscounted(contents)),
        *_left_over(ledger, contents),
        *(Violation("not archived", told, task) for task, told in unarchived(contents)),
    ]


def _troubles(ledger: Ledger) -> Iterator[Violation]:
    for trouble in ledger.all(Trouble):
        if _fell_between(ledger, trouble):
            continue
        told = f"at {trouble.at:.1f} s: {trouble.told}"
        yield Violation(trouble.kind, told, span=(trouble.at, trouble.at))


def _fell_between(ledger: Ledger, trouble: Trouble) -> bool:
    """Tell whether a process could not begin since the package was being replaced just then."""
    return bool(_REPLACED.search(trouble.told)) and any(
        fault.at - _BEGINS_WITHIN_S * ledger.slowness(fault.at, fault.until) < began < fault.until
        for fault in ledger.all(Fault)
        if fault.kind == "upgrade"
        for began in trouble.began
    )


def _every_task_ends(ledger: Ledger, contents: Contents) -> Iterator[Violation]:
    """Every acknowledged task ends, and its sender sees that."""
    still_open = ledger.open()
    for sent in ledger.all(Sent):
        record = contents.records.get(sent.task)
        if sent.task not in contents.sent:
            yield Violation("lost", f"{sent.token} was acknowledged; no record of it", sent.task)
        elif record is None or record.state not in ENDS:
            yield Violation("unended", f"{sent.token} {_where(sent.task, contents)}", sent.task)
        elif sent.task in still_open:
            told = f"{sent.token} is {record.state}, and no session of {sent.sender} was shown it"
            told += f": {record.owner}'s, seen {record.seen} of {record.revision}"
            yield Violation("unseen", told, sent.task)


def _where(task: str, contents: Contents) -> str:
    record = contents.records.get(task)
    state = f"stands as {' > '.join(record.states[-6:])}" if record else "was never touched"
    if task in contents.scheduled:
        return f"{state}; its schedule has not fallen due"
    if task not in contents.waiting:
        return f"{state}; no message of it is left to be offered"
    lane = next(
        (lane for lane in contents.lanes if (lane.inbox, lane.lane) == contents.waiting[task]), None
    )
    counts = f" ({lane.pending} pending, {lane.held} handed out)" if lane else ""
    return f"{state}; its message lies in {'/'.join(contents.waiting[task])}{counts}"


def _one_end(ledger: Ledger, contents: Contents) -> Iterator[Violation]:
    """A task has one end: the one that was acknowledged, and the one that was shown."""
    said, shown = ledger.by_task(Said), ledger.by_task(Shown)
    for task, record in contents.records.items():
        ends = [state for state in record.states if state in ENDS]
        if len(ends) > 1 and not (len(ends) == 2 and ends[0] == "expired"):
            yield Violation("two ends", f"its record says {' > '.join(record.states)}", task)
        words = [word for word in said[task] if word.status in ENDS]
        stored = {(word.status, word.token) for word in words if word.outcome == "stored"}
        if len(stored) > 1:
            yield Violation("two ends", f"all of these were acknowledged: {sorted(stored)}", task)
        end = (record.state, record.summary)
        if len(stored) == 1 and end not in stored:
            yield Violation("wrong end", f"acknowledged {stored}, on record {end}", task)
        meant = {(word.status, word.token) for word in words if word.outcome != "refused"}
        if record.state in ENDS - {"expired", "parked"} and end not in meant:
            yield Violation("wrong end", f"on record {end}, which nobody said", task)
        for word in shown[task]:
            if word.state in ENDS and word.state not in {record.state, *ends}:
                told = f"{word.session} was shown {word.state}, on record {record.state}"
                yield Violation("wrong end", told, task)


def _stored_once(ledger: Ledger, contents: Contents) -> Iterator[Violation]:
    """One send is one task, whatever was asked again; what nobody sent is not there."""
    tasks = defaultdict(set)
    for task, token in contents.sent.items():
        tasks[token].add(task)
    for sent in ledger.all(Sent):
        tasks[sent.token].add(sent.task)
    tried = {trial.token for trial in ledger.all(Tried)}
    for token, ids in tasks.items():
        if len(ids) > 1:
            yield Violation("stored twice", f"{token} is {len(ids)} tasks: {sorted(ids)}", max(ids))
        if token not in tried:
            yield Violation("ghost", f"nobody sent {token}", max(ids))


@dataclass(frozen=True)
class _Hold:
    session: str
    begin: float
    end: float


def _holds(ledger: Ledger, claims: list[Claimed], words: list[Said]) -> list[_Hold]:
    """Return from when to when each session held a task for sure."""
    ends = defaultdict(list)
    for ended in ledger.all(Ended):
        ends[ended.session].append(ended.at)
    for word in words:
        if word.status in ENDS | {"released", "lost"} or word.outcome == "refused":
            ends[word.session].append(word.began)
    holds = []
    for claim in claims:
        after = [at for at in ends[claim.session] if at >= claim.began]
        holds.append(_Hold(claim.session, claim.at, min(after, default=inf)))
    return holds


def _one_holder(ledger: Ledger) -> Iterator[Violation]:
    """No two live sessions hold a task at once."""
    said = ledger.by_task(Said)
    for task, claims in ledger.by_task(Claimed).items():
        holds = _holds(ledger, claims, said[task])
        for first in holds:
            for second in holds:
                begin, end = second.begin, min(first.end, second.end)
                if first.session == second.session or not first.begin <= begin < end:
                    continue
                within = first.session, first.begin, begin
                if max(ledger.stalled(*within), _cut_off(ledger, *within)) > _LOSES_AFTER_S:
                    continue
                told = f"{first.session} since {first.begin:.1f} s, {second.session} since {begin:.1f} s"
                yield Violation("two holders", told, task)
                break


def _cut_off(ledger: Ledger, session: str, begin: float, end: float) -> float:
    """Return for how long within these two a session called in vain since nobody spoke for it.

    Its listener says that it lives. Another one replaces it within a second; on a busy machine
    within half a minute.
    """
    longest = 0.0
    for call in ledger.all(Call):
        waited = min(call.at, end) - max(call.began, begin)
        if call.session != session or call.what == "watch_inbox" or waited <= longest:
            continue
        since = call.began - _REPLACES_S * ledger.slowness(call.began, call.at)
        ended = (fault.at for fault in ledger.all(Fault) if fault.kind in _OF_A_LISTENER)
        if any(since < at < call.at for at in ended):
            longest = waited
    return longest


def _not_early(ledger: Ledger) -> Iterator[Violation]:
    """What is scheduled is not offered before its time."""
    claimed = ledger.by_task(Claimed)
    for sent in ledger.all(Sent):
        first = min((claim.at for claim in claimed[sent.task]), default=None)
        if sent.due and first is not None and first < sent.due - _EARLY_S:
            yield Violation(
                "early", f"due at {sent.due:.1f} s, claimed at {first:.1f} s", sent.task
            )


def _not_expired_early(ledger: Ledger) -> Iterator[Violation]:
    """What has a deadline is not over before it."""
    shown = ledger.by_task(Shown)
    for sent in ledger.all(Sent):
        first = min((word.at for word in shown[sent.task] if word.state == "expired"), default=None)
        if sent.expires and first is not None and first < sent.expires - _EARLY_S:
            told = f"its deadline was at {sent.expires:.1f} s, shown as expired at {first:.1f} s"
            yield Violation("early", told, sent.task)


def _nobody_passed_over(ledger: Ledger) -> Iterator[Violation]:
    """A look with room to spare shows all that waits: at once, or once faults have been got over."""
    calm_until = min((fault.at for fault in ledger.all(Fault)), default=0.0)
    claimed, said = ledger.by_task(Claimed), ledger.by_task(Said)
    readers = _readers(ledger)
    for sent in ledger.all(Sent):
        if sent.kind == "deadline":  # it may have expired
            continue
        reader = readers[sent.inbox]
        for begin, end in _free(reader, sent, claimed[sent.task], said[sent.task], ledger):
            for look in reader.looks[bisect_right(reader.looks, begin, key=attrgetter("began")) :]:
                if look.at >= end:
                    break
                is_calm = look.at < calm_until and not sent.due and not sent.is_here
                grace_s = _OFFERED_WITHIN_S if is_calm else _BACK_WITHIN_S
                if not is_calm:
                    grace_s *= ledger.slowness(begin, look.began)
                    whose = sent.session if sent.is_here else "*"
                    grace_s += ledger.stalled_in_all(whose, begin, look.began)
                if begin + grace_s < look.began:
                    told = f"free since {begin:.2f} s; {look.session} looked at {look.began:.2f} s"
                    yield Violation("passed over", f"{told} and was not shown it", sent.task)
                    break


@dataclass
class _Readers:
    """Those who read an inbox."""

    #: Their looks that had room to spare, as they began.
    looks: list[Looked] = field(default_factory=list)
    #: When one of them was ended.
    ends: list[float] = field(default_factory=list)


def _readers(ledger: Ledger) -> dict[str, _Readers]:
    """Return who reads each inbox."""
    readers: dict[str, _Readers] = defaultdict(_Readers)
    reads = defaultdict(set)
    for look in sorted(ledger.all(Looked), key=attrgetter("began")):
        for inbox in look.inboxes:
            reads[look.session].add(inbox)
            if look.room > 0:
                readers[inbox].looks.append(look)
    for ended in ledger.all(Ended):
        for inbox in reads[ended.session]:
            readers[inbox].ends.append(ended.at)
    return readers


def _free(
    readers: _Readers, sent: Sent, claims: list[Claimed], words: list[Said], ledger: Ledger
) -> Iterator[tuple[float, float]]:
    """Return from when to when a task waited for anybody, as far as answers can tell."""
    holds = _holds(ledger, claims, words)
    over = min((word.began for word in words if word.status in ENDS), default=inf)
    begins = [max(sent.at, sent.due), *(hold.end for hold in holds if hold.end < inf)]
    for begin in begins:
        until = min([over, *(claim.began for claim in claims if claim.at > begin)])
        if any(hold.begin <= begin < hold.end for hold in holds):  # before its sender was told
            continue
        # Who is killed may have got it, and have had no time to say so.
        later = [at for at in readers.ends if begin < at < until]
        unsure = any(word.began <= begin <= word.at for word in words if word.outcome == "unknown")
        if begin < until and not unsure:
            yield max(later, default=begin), until


def _slow(ledger: Ledger) -> Iterator[Violation]:
    """An answer comes in the promised time, but for that in which nobody could give one."""
    for call in ledger.all(Call):
        took = call.at - call.began
        took -= ledger.stalled_in_all(call.session, call.began, call.at)
        if took > _ANSWERS_WITHIN_S * ledger.slowness(call.began, call.at):
            told = f"{call.session} waited {took:.1f} s for {call.what} from {call.began:.1f} s on"
            told += f", stalls not counted: {call.outcome}"
            kind = "no answer" if call.outcome == "none" else "slow"
            yield Violation(kind, told, span=(call.began, call.at))


def _left_over(ledger: Ledger, contents: Contents) -> Iterator[Violation]:
    """What is over is offered no more, but for what somebody lost who had it just now."""
    ends = {ended.session: ended.at for ended in ledger.all(Ended) if ended.how != "closed"}
    claimed, said = ledger.by_task(Claimed), ledger.by_task(Said)
    now = max((entry.at for entry in (*ledger.all(Call), *ledger.all(Shown))), default=0.0)
    offered = {(lane.inbox, lane.lane) for lane in contents.lanes if lane.pending or lane.held}
    for task, place in contents.waiting.items():
        if not has_ended(contents, task) or (contents.lanes and place not in offered):
            continue
        lost = [ends.get(claim.session, -inf) for claim in claimed[task]]
        # Who is told that it is over need not look again.
        lost += [word.at for word in said[task] if word.outcome in {"unknown", "refused"}]
        if now - max(lost, default=-inf) > _BACK_WITHIN_S:
            told = f"it is over, and its message is still offered in {'/'.join(place)}"
            yield Violation("left over", told, task)
