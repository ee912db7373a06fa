# SPDX-License-Identifier: Apache-2.0
"""What a run was, for people: one table, and the story of each promise that was broken.

>>> print(table(ledger, samples, violations))
tasks         412  plain 290, scheduled 61, deadline 40, chained 21
"""

from __future__ import annotations

from collections import Counter, defaultdict

from checker import Violation
from held import Contents
from ledger import ENDS, Call, Claimed, Entry, Fault, Ledger, Pulse, Said, Sent, Shown, Told
from machine import Sample

# Faults that began so long before or after a step of a task are told with it.
_AROUND_S = 3.0
_STORIES_MAX = 25


def table(
    ledger: Ledger, contents: Contents, samples: list[Sample], broken: list[Violation]
) -> str:
    """Return rounds, tasks, faults, broken promises, the longest waits, and memory."""
    sent = ledger.all(Sent)
    calls = ledger.all(Call)
    kinds = Counter(entry.kind for entry in sent)
    ends = Counter(
        record.state if record.state in ENDS else "open" for record in contents.records.values()
    )
    faults = Counter(entry.kind for entry in ledger.all(Fault))
    rows = [
        ("calls", len(calls), Counter(call.what for call in calls)),
        ("unconfirmed", sum(call.outcome == "unknown" for call in calls), Counter()),
        ("tasks", len(sent), kinds),
        *_stored_here(sent),
        ("ends", sum(ends.values()), ends),
        (
            "replies",
            len(ledger.all(Told)),
            Counter(
                said.status
                for said in ledger.all(Said)
                if said.status in {"answered", "approved"} and said.outcome == "stored"
            ),
        ),
        ("faults", sum(faults.values()), faults),
        ("violations", len(broken), Counter(violation.kind for violation in broken)),
    ]
    lines = [f"{name:<12}{count:>6}  {_counted(kinds)}" for name, count, kinds in rows]
    slow = sorted(pulse.slowness for pulse in ledger.all(Pulse)) or [1.0]
    lines.append(f"slowness    {slow[len(slow) // 2]:>6.1f}  {slow[-1]:>6.1f} at most")
    return "\n".join([*lines, *_waits(ledger), *_taken(samples)])


def _stored_here(sent: list[Sent]) -> list[tuple[str, int, Counter]]:
    """Return how many tasks were on their sender's machine first, and of whom."""
    senders = Counter(entry.sender for entry in sent if entry.is_here)
    return [("stored here", senders.total(), senders)] if senders else []


def _counted(counter: Counter) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


def _waits(ledger: Ledger) -> list[str]:
    """Return the median and the longest of each kind of wait."""
    waits = defaultdict(list)
    for call in ledger.all(Call):
        waits[call.what].append(max(0.0, call.at - call.began))
    claimed = ledger.by_task(Claimed)
    shown = ledger.by_task(Shown)
    for sent in ledger.all(Sent):
        first = min((claim.at for claim in claimed[sent.task]), default=None)
        seen = min((word.at for word in shown[sent.task] if word.state in ENDS), default=None)
        if first is not None:
            waits["stored until claimed"].append(max(0.0, first - max(sent.at, sent.due)))
        if seen is not None:
            waits["stored until its end was seen"].append(max(0.0, seen - sent.at))
    return [
        f"wait, s     {sorted(some)[len(some) // 2]:>6.2f}  {max(some):>6.2f} at most: {what}"
        for what, some in sorted(waits.items(), key=lambda item: -max(item[1]))
    ]


def _taken(samples: list[Sample]) -> list[str]:
    by_kind = defaultdict(list)
    for taken in samples:
        by_kind[taken.kind].append(taken)
    return [
        f"memory, MB  {sorted(one.rss_mb for one in some)[len(some) // 2]:>6.0f}  "
        f"{max(one.rss_mb for one in some):>6.0f} at most, "
        f"{max(one.descriptors for one in some)} descriptors: {kind}"
        for kind, some in sorted(by_kind.items())
    ]


def stories(ledger: Ledger, broken: list[Violation]) -> str:
    """Return what is known of each broken promise: the task's steps, and the faults around them."""
    told = [story(ledger, violation) for violation in broken[:_STORIES_MAX]]
    if len(broken) > _STORIES_MAX:
        told.append(f"... and {len(broken) - _STORIES_MAX} more.")
    return "\n\n".join(told)


def story(ledger: Ledger, violation: Violation) -> str:
    """Return what happened to a task, a line each, among the faults that came close to it."""
    steps = ledger.about(violation.task) if violation.task else []
    times = [(step.at, step.at) for step in steps] or [violation.span]
    near = [
        fault
        for fault in ledger.all(Fault)
        if any(
            fault.at - _AROUND_S < end and begin < fault.until + _AROUND_S for begin, end in times
        )
    ]
    lines = [_line(entry) for entry in sorted([*steps, *near], key=lambda entry: entry.at)]
    task = [f"   task {violation.task}"] if violation.task else []
    return "\n".join([f"** {violation.kind}: {violation.told}", *task, *lines])


def _line(entry: Entry) -> str:
    match entry:
        case Sent():
            due = f", due at {entry.due:.2f} s" if entry.due else ""
            what = f"{entry.session} sent it to {entry.inbox}, {entry.lane}, {entry.kind}{due}"
        case Claimed():
            how = "got" if entry.new else "was shown again"
            what = f"{entry.session} {how} it, attempt {entry.attempt}, asked {entry.began:.2f} s"
        case Said():
            what = f"{entry.session} said {entry.status} at {entry.began:.2f} s: {entry.outcome}"
        case Told():
            what = f"{entry.session} was told {entry.token}"
        case Shown():
            what = f"{entry.session} was shown {entry.state}"
        case Fault():
            what = f"    [{entry.kind} {entry.target}, until {entry.until:.2f} s]"
        case _:
            what = str(entry)
    return f"   {entry.at:8.2f}  {what}"
