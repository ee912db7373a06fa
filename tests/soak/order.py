# SPDX-License-Identifier: Apache-2.0
"""Whether what waited was shown in its order.

>>> list(out_of_order(ledger))
[('9d0c...', 'pat-7, which was sent after it, was shown before it')]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from math import inf

from ledger import Call, Claimed, Fault, Ledger, Looked, Said, Sent, Tried

_RANK = {"high": 0, "normal": 1, "low": 2}
# After these a session may serve itself.
_UNLISTENED = {
    "kill_listener", "term_listener", "stop_listener", "listen_stop", "listen_replace",
    "second_listener", "remove_socket", "empty_runtime",
}  # fmt: skip


def out_of_order(ledger: Ledger) -> Iterator[tuple[str, str]]:
    """Return the tasks that an answer should have shown earlier, and before which.

    In one answer high comes before normal before low, and in a lane who was stored earlier.
    """
    sent = {entry.task: entry for entry in ledger.all(Sent)}
    # What an attempt has stored that nobody confirmed is older than the one that was confirmed.
    first_tried = {trial.token: trial.at for trial in reversed(ledger.all(Tried))}
    answers = defaultdict(list)
    others, faults, met = _looks_by_inbox(ledger), ledger.all(Fault), _met(ledger)
    for claim in ledger.all(Claimed):
        is_first = (
            claim.new and claim.attempt == 1 and met[claim.session, claim.task] >= claim.began
        )
        if is_first and claim.task in sent:
            answers[claim.session, claim.at].append(claim)
    for claims in answers.values():
        ordered = [sent[claim.task] for claim in sorted(claims, key=lambda claim: claim.place)]
        for before, after in pairwise(ordered):
            if _disturbed(claims[0], after, others[after.inbox], faults):
                continue
            if _came_later(before, after, claims[0], faults):
                continue
            if _failed_since(before, claims[0], others[before.inbox]):
                continue
            if _RANK[before.lane] > _RANK[after.lane]:
                told = f"{before.token} ({before.lane}) was shown before it ({after.lane})"
                yield after.task, told
            same = (before.inbox, before.lane) == (after.inbox, after.lane)
            began = first_tried.get(before.token, before.began)
            if same and not before.due and not after.due and after.at < began:
                told = f"{before.token}, which was sent after it, was shown before it"
                yield after.task, told


def _came_later(before: Sent, after: Sent, claim: Claimed, faults: list[Fault]) -> bool:
    """Tell whether a task may have come to the bus after another, or during the look at both."""
    # What was stored or fell due during the look came to a part of it that was tried again.
    if max(after.at, after.due) > claim.began:
        return True
    # Of what was handed on it is known only that it came before what its sender has sent then.
    if not after.is_here or (before.sender, before.lane) != (after.sender, after.lane):
        return after.is_here
    # Without a listener nobody hands it on, and what a session sends by itself goes past it.
    unlistened = (fault.at for fault in faults if fault.kind in _UNLISTENED)
    return not before.is_here and any(after.at < at < before.at for at in unlistened)


def _met(ledger: Ledger) -> dict[tuple[str, str], float]:
    """Return when each session had to do with each task first: what it holds is shown first.

    A shell is a session of several processes, which know nothing of each other.
    """
    met: dict[tuple[str, str], float] = {}
    for entry in (*ledger.all(Claimed), *ledger.all(Said)):
        place = entry.session, entry.task
        met[place] = min(entry.began, met.get(place, inf))
    return met


def _disturbed(claim: Claimed, sent: Sent, looks: list[Call], faults: list[Fault]) -> bool:
    """Tell whether a task may have been in other hands between its sending and this claim.

    In those of a session that gave it back; or of a command of the same shell that was killed: what
    it had claimed is shown first.
    """
    if claim.session.startswith("shell:"):
        return any(sent.at < fault.at < claim.at for fault in faults)
    return any(
        look.session != claim.session and look.began < claim.at and look.at > sent.at
        for look in looks
    )


def _failed_since(sent: Sent, claim: Claimed, looks: list[Call]) -> bool:
    """Tell whether a look of this session has failed since: what it had claimed is shown first."""
    return any(
        look.session == claim.session and look.outcome != "stored" and sent.began < look.at
        for look in looks
        if look.at <= claim.at
    )


def _looks_by_inbox(ledger: Ledger) -> dict[str, list[Call]]:
    """Return all calls that may have taken a task out of each inbox."""
    inbox_of = {sent.task: sent.inbox for sent in ledger.all(Sent)}
    reads = defaultdict(set)
    for look in ledger.all(Looked):
        reads[look.session].update(look.inboxes)
    for claim in ledger.all(Claimed):  # not all tell whether they saw the whole inbox
        reads[claim.session].add(inbox_of.get(claim.task, ""))
    looks = defaultdict(list)
    for call in ledger.all(Call):
        if call.what in {"read_inbox", "watch_inbox"}:
            for inbox in reads.get(call.session, ()):
                looks[inbox].append(call)
    return looks
