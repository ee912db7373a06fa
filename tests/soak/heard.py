# SPDX-License-Identifier: Apache-2.0
"""Whether what was said to a worker's question reached who has the task.

>>> list(unheard(ledger))
[('9d0c...', 'ana-2#1 was shown it at 9.1 s without reply-9d0c...-3, stored at 8.2 s')]
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from ledger import ENDS, Claimed, Ledger, Said, Told

#: What is said to a question.
REPLIES = frozenset({"answered", "approved"})
# With these a worker goes on, or asks something else.
_GOES_ON = ENDS | {"working", "needs_approval", "needs_input"}


def unheard(ledger: Ledger) -> Iterator[tuple[str, str]]:
    """Return the tasks of which an acknowledged reply was not told, and to whom.

    Whoever is shown such a task next, having asked for it later, is told the reply with it: who has
    asked, or who has the task after that one. Not if its worker has gone on by itself.
    """
    claimed, said = ledger.by_task(Claimed), ledger.by_task(Said)
    told: dict[str, float] = {}
    for entry in ledger.all(Told):
        told[entry.token] = min(entry.at, told.get(entry.token, entry.at))
    for task, entries in said.items():
        for reply in entries:
            if reply.status not in REPLIES or reply.outcome != "stored":
                continue
            later = [
                claim
                for claim in claimed[task]
                if claim.began > reply.at
                and (reply.status == "answered" or _place(claim.session) == _place(reply.session))
            ]
            shown = min(later, key=attrgetter("began"), default=None)
            if shown is None or told.get(reply.token, shown.at + 1) <= shown.at:
                continue
            if not _went_on(entries, reply, shown):
                yield (
                    task,
                    (
                        f"{shown.session} was shown it at {shown.at:.1f} s without {reply.token}, "
                        f"stored at {reply.at:.1f} s"
                    ),
                )


def _place(session: str) -> str:
    """Return where a session is, of several accounts' places."""
    return session.partition("@")[2]


def _went_on(entries: list[Said], reply: Said, shown: Claimed) -> bool:
    """Tell whether a worker may have gone on between a reply and this look, or just before."""
    return any(
        word.status in _GOES_ON
        and word.began < shown.at
        and (word.outcome == "unknown" or (word.outcome == "stored" and word.at > reply.began))
        for word in entries
    )
