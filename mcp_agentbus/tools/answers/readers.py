# SPDX-License-Identifier: Apache-2.0
"""Who reads an answer: a model, which calls tools, or whoever types commands; each in its words.

    >>> SHELL.hint("Call task_life with this task_id to see the stored result.")
    'Run `agentbus task ID` to see the stored result.'
    >>> MODEL.hint("Run `agentbus server start`.")
    'Ask your user to run `agentbus server start`.'

Hints are written once, in the words of the Python API, whose users see `str(error)`: its functions
for what it has, which are mostly the tools', and commands for the rest. Where an answer leaves, its
reader puts them into its words. A peer's text never comes here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mcp_agentbus.errors import AgentbusError

_WHOLE_ID: Final = re.compile(r"\b[0-9a-f]{32}\b")
# Where the id stands that its reader types; the message may have named it.
_ID_TO_TYPE: Final = re.compile(r"(`agentbus (?:task|result|watch --task) )ID\b")
# The tools and commands that store nothing, whatever becomes of them.
_READS: Final = frozenset({"read_inbox", "watch_inbox", "list_agents"}) | {
    "inbox", "watch", "agents", "task", "parked", "tasks", "search", "audit", "export", "status",
    "why", "policy",
}  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """How one kind of reader is told what to do next."""

    #: What hints say, as patterns, and what stands there for this reader; applied in this order.
    words: Sequence[tuple[str, str]]
    #: How a task's text is read, the rest of it, and the next part of a list.
    reads: str
    reads_on: str
    pages_on: str
    #: How the question of a task's worker is answered by its sender.
    answers_by: str
    #: Of a long answer it sees the end, from where it has to scroll back.
    scrolls: bool = False
    #: The same as `words` for how messages begin; what follows there may be what a caller wrote.
    beginnings: Sequence[tuple[str, str]] = ()

    def hint(self, hint: str) -> str:
        """Return a hint in this reader's words."""
        return _said(hint, self.words)

    def message(self, message: str) -> str:
        """Return an error's message in this reader's words."""
        return _said(message, self.beginnings)

    def error(self, error: AgentbusError, asked: str = "") -> dict[str, str]:
        """Return an error as data: its kind, its message and its hint; `asked` is what failed."""
        message, hint = self.message(error.message), self.hint(error.hint)
        if len(named := set(_WHOLE_ID.findall(error.message))) == 1:
            hint = _ID_TO_TYPE.sub(rf"\g<1>{named.pop()}", hint)
        if asked in _READS:
            message = message.replace("Nothing was stored", "Nothing was read")
        return {"kind": type(error).__name__, "message": message, "hint": hint}

    def sentences(self, error: AgentbusError, asked: str = "") -> str:
        """Return the same as one text, like `str`."""
        about = self.error(error, asked)
        return f"{about['message']} Hint: {about['hint']}"

    def whole(self, task_id: str) -> str:
        """Return how a task's text is read, from the beginning."""
        return self.reads.format(task_id=task_id)

    def rest(self, task_id: str, cursor: int) -> str:
        """Return how the rest of a task's text is read, from this character on."""
        return self.reads_on.format(task_id=task_id, cursor=cursor)

    def answers(self, task_id: str, state: str, asked_by: str = "") -> list[str]:
        """Return how its sender answers what a task's worker has asked, and its user decides.

        `asked_by` is that sender where another reads it, who cannot.
        """
        answer = f"to answer: {self.answers_by.format(task_id=task_id)}"
        answer = f"{asked_by} answers that" if asked_by else answer
        decide = "its worker's user decides: agentbus approve {0}, or agentbus deny {0}"
        return {"needs_input": [answer], "needs_approval": [answer, decide.format(task_id)]}.get(
            state, []
        )

    def page(self, cursor: str) -> str:
        """Return what gives the next part of a list."""
        return self.pages_on.format(cursor=cursor)


def _said(sentence: str, words: Sequence[tuple[str, str]]) -> str:
    for pattern, own in words:
        sentence = re.sub(pattern, own, sentence)
    return sentence


# Python takes whole ids alone.
_SHORT: Final = (r"\bread_inbox, all of it\.", "read_inbox, or its first 6 characters and more.")

#: A model with the five tools; it types nothing, so commands are for the person whom it works for.
MODEL: Final = Reader(
    words=(
        _SHORT,
        (r"\bRun `agentbus agents`", "Call list_agents"),
        (r"\bCall task_life with", "Call read_inbox with"),
        (r"\bRun(:| `)", r"Ask your user to run\1"),
        (r"(?<!user to )\brun(:| `)", r"ask your user to run\1"),
        (r"\bSee `agentbus", "Your user can see `agentbus"),
        (r"\brun (this|the command) again\b", "call again"),
        (r"\bA better name: (?=agentbus )", "For a better name, ask your user to run: "),
        (r"\b(To let it|To have that here): (?=agentbus )", r"\1, ask your user to run: "),
        (r"\bone of (`agentbus parked`), which shows", r"one of \1, where your user sees"),
        (r"or from (`agentbus agent add`), on\.$", r"or once your user has added it by \1."),
    ),
    reads="read_inbox(task_id={task_id!r})",
    reads_on="read_inbox(task_id={task_id!r}, cursor='{cursor}')",
    pages_on="cursor {cursor!r}",
    answers_by="publish_result(task_id={task_id!r}, status='answered', body=…)",
)

# By the name of an argument.
_OPTIONS: Final = (
    ("request_id", "--request-id"),
    ("in_reply_to", "--in-reply-to"),
    ("reply_to", "--reply-to"),
    ("expires_in_s", "--expires-in"),
    ("deliver_in_s", "--deliver-in"),
    ("timeout_s", "--timeout"),
    ("limit", "--limit"),
    ("progress", "--progress"),
)
# By the name of a tool.
_COMMANDS: Final = (
    ("list_agents", "`agentbus agents`"),
    ("read_inbox", "`agentbus inbox`"),
    ("watch_inbox", "`agentbus watch`"),
    ("send_task", "`agentbus send`"),
    ("publish_result", "`agentbus result`"),
)

# A person is no part of a circle; a model with tools would take that way out of one.
_ERRAND: Final = "a person's own errand goes under a name of its own: --agent NAME."

#: Whoever types `agentbus ...`, a person or an agent with a shell.
SHELL: Final = Reader(
    words=(
        _SHORT,
        (r"\bCall task_life with this task_id\b", "Run `agentbus task ID`"),
        (r"or (from `agentbus agent add`), on\.$", r"\1, or from `agentbus inbox --agent ID` on."),
        (r"\bCall again with request_id='([^']*)'", r"Run it again with --request-id \1"),
        (r"\bCall again\b", "Run it again"),
        (r"\bcall again\b", "run it again"),
        (r"\bCall (?=[a-z]+_[a-z]+\b)", "Run "),
        (r"\bcall (?=[a-z]+_[a-z]+\b)", "run "),
        (r"\bpublish status 'cancelled'", "run `agentbus result ID cancelled`"),
        (r"\bPublish '(\w+)'", r"Run `agentbus result ID \1`"),
        (r"^Use (?:the cursor|next_cursor) of\b", "Give --cursor as it stands in"),
        (r"\bA session of (\S+) can\b", r"With --agent \1 you can"),
        (r"\bat hand (within 10 minutes counts)\.", rf"at hand on this machine \1; {_ERRAND}"),
        (r"\btask_id\b", "id"),
        *((rf"\b{argument}\b", option) for argument, option in _OPTIONS if "_" in argument),
        (r"\bread_inbox with limit (\d+)", r"`agentbus inbox --limit \1`"),
        *((rf"\b{tool}\b", command) for tool, command in _COMMANDS),
    ),
    reads="agentbus task {task_id}",
    reads_on="agentbus task {task_id} --cursor {cursor}",
    pages_on="--cursor {cursor}",
    answers_by="agentbus answer {task_id} TEXT",
    scrolls=True,
    beginnings=tuple(
        (rf"^(This )?{argument} (is|was)\b", rf"\1{option} \2") for argument, option in _OPTIONS
    ),
)
