# SPDX-License-Identifier: Apache-2.0
"""Has accounts hear what is theirs to hear: that a task is stored, given back, or has come on.

    agentbus.<inbox>.wake.<lane>.<sender>  ->  agentbus-for.<account>.agentbus.<inbox>.wake....

Nothing of it is kept: whoever misses it looks again by himself. Of all gates one passes each on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mcp_agentbus.bus.login.account import FOR
from mcp_agentbus.bus.raw import head
from mcp_agentbus.bus.raw.passage import Passage, Passed
from mcp_agentbus.gate.keeper import Keeper
from mcp_agentbus.store import subjects

_GROUP: Final = "gate-signals"
_HEARD: Final = (
    subjects.wake_subject("*"),
    subjects.back_subject("*"),
    subjects.refused_subject("*", "*"),
    subjects.record_subject("*", "*", "*"),
    subjects.sent_subject("*", "*", "*"),
    subjects.wakes_subject("*", "*", "*"),
)


class Signals:
    """Passes signals on, on one connection."""

    def __init__(self, keeper: Keeper, passage: Passage) -> None:
        self._keeper, self._passage = keeper, passage
        for subject in _HEARD:
            passage.hear(subject, self._heard, _GROUP)

    def _heard(self, signal: Passed) -> None:
        # Who was removed may have a connection still, until the server has read of it.
        book = self._keeper.book
        for account in filter(book.is_in, self._hearers(signal.subject)):
            # Without what it is to be answered on: that is the bus's own.
            subject = f"{FOR}.{account}.{signal.subject}"
            self._passage.say(subject, signal.data, head.clean(signal.head))

    def _hearers(self, subject: str) -> Iterable[str]:
        whose, kind, rest = subjects.parts(subject)
        book = self._keeper.book
        if kind == "refused":  # by whom it is, and whose task
            return {*book.readers(whose), *book.readers(rest[0])}
        if kind in {"wake", "back"}:
            return book.readers(whose)
        # A record is its owner's, and theirs whose inbox the task is in.
        return {*book.readers(whose), *book.readers(rest[0])}
