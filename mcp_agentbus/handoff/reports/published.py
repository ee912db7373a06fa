# SPDX-License-Identifier: Apache-2.0
"""What is stored once something was published of a task.

>>> Published("9d0c...", "stored").note
'The task is back in the inbox.'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mcp_agentbus.handoff.intake import arrivals
from mcp_agentbus.store.task import ENDS, HELD, NOTE_MAX_CHARS, State

_ANSWERED: Final = "The answer is stored; its worker is shown it at its next call."
_OVERTAKEN: Final = (
    "The answer is stored, and its worker went on in the same moment: it is shown it in the task's "
    "life alone. Call task_life with this task_id to see whether that asks anew."
)
_OVERDUE: Final = "The task's deadline has passed: a result is stored all the same, marked late."
_REPLIED: Final = "The question has a reply. Call read_inbox: it shows that."
_MISSED: Final = (
    "What was asked before has a reply, which came in the same moment. Call task_life with this "
    "task_id to see it."
)
_PASSED: Final = (
    "What was asked before has a reply. Call task_life with this task_id if you have not seen it."
)


@dataclass(frozen=True)
class Published:
    """What is stored now."""

    task_id: str
    #: The task's state; `stored` again after a release.
    state: State
    #: The very same had been published before; nothing was stored again.
    unchanged: bool = False
    #: The result came after the task's deadline.
    late: bool = False
    #: The task is kept, and its deadline has passed.
    overdue: bool = False
    #: An answer to its worker's question is stored beside it.
    is_answer: bool = False
    #: The question stands as before, and has a reply that nobody was shown.
    is_replied: bool = False
    #: A question's reply came in the moment in which its worker went on from that.
    missed: bool = False
    #: A question's reply was given by an answer that may not have arrived.
    passed: bool = False
    #: It is a word: there is nothing to be answered, and nothing was stored.
    is_word: bool = False
    #: What was said stands nowhere, or but for its beginning: with a release at once, with a step
    #: that keeps the task after its next one. Of a second withdrawal it stands nowhere.
    unkept: bool = False

    @property
    def note(self) -> str:
        """What its fields do not say by themselves, as `Receipt.note`."""
        if self.is_word:
            return arrivals.WORD_IS_OVER if self.state in ENDS else arrivals.NOTHING_TO_ANSWER
        if self.is_answer and not self.unchanged:
            return _OVERTAKEN if self.missed else _ANSWERED
        if self.state in HELD and not self.is_answer:
            passed = _MISSED if self.missed else _PASSED if self.passed else ""
            of_reply = (_REPLIED if self.is_replied else "", passed)
            who = "" if self.is_replied else self._who_decides
            late = _OVERDUE if self.overdue else ""
            return " ".join(filter(None, (self._again, *of_reply, late, who, self._first)))
        if self.state == "stored":
            if self.unchanged:
                lost = " What was said with that was not stored." if self.unkept else ""
                return f"The task is in the inbox as before.{lost}"
            return " ".join(filter(None, ("The task is back in the inbox.", self._first)))
        notes = (
            self._again,
            "It came after the task's deadline and is marked late." if self.late else "",
        )
        return " ".join(filter(None, notes))

    @property
    def _again(self) -> str:
        if self.state == "cancelled" and self.unkept:
            return "It was withdrawn already; this reason was not stored."
        return "It had been published before; nothing was stored again." if self.unchanged else ""

    @property
    def _who_decides(self) -> str:
        if self.state != "needs_approval":
            return ""
        return (
            f"Your user decides: `agentbus approve {self.task_id}`, or deny, typed outside of any "
            "agent. The decision comes on this task."
        )

    @property
    def _first(self) -> str:
        later = "" if self.state == "stored" else " after the task's next step"
        said = f"Of what was said, {NOTE_MAX_CHARS} characters are kept{later}."
        return said if self.unkept else ""
