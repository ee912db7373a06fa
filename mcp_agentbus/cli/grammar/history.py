# SPDX-License-Identifier: Apache-2.0
"""The commands that look: status and why; and back: tasks, search, audit, export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mcp_agentbus.cli.arguments import count
from mcp_agentbus.cli.grammar.command import (
    add_page,
    add_since,
    add_task,
    add_words,
    command,
    completed,
)

if TYPE_CHECKING:
    from mcp_agentbus.cli.grammar.command import Commands

# The states of a task, and any of those that are no end.
_STATES: Final = (
    "open", "stored", "claimed", "working", "needs_approval", "needs_input", "completed", "failed",
    "rejected", "cancelled", "expired", "parked",
)  # fmt: skip


def _add_policy(commands: Commands) -> None:
    policy = commands.add_parser("policy", help="say what one agent may have another do, and why")
    actions = policy.add_subparsers(dest="action", required=True, metavar="ACTION")
    explain = actions.add_parser(
        "explain",
        help="say what would become of a task now",
        description="Say what would become of a task of one agent to another now: whether it is "
        "taken, whom it wakes, and what is held until when. Nothing is sent.",
    )
    for name, about in (("sender", "who would send it"), ("to", "an agent or role:NAME")):
        who = explain.add_argument(name, metavar="FROM" if name == "sender" else "TO", help=about)
        completed(who)
    explain.add_argument("--json", action="store_true", help="print JSON")


def add(commands: Commands) -> None:
    """Declare them."""
    command(commands, "status", "show what goes on and what needs you", agent=False)
    why = command(commands, "why", "say why a task is not done, and what to do", agent=False)
    add_task(why)
    _add_policy(commands)
    tasks = command(commands, "tasks", "list what was sent and received, the latest first")
    add_words(tasks, "*", "only tasks with all these words in their texts")
    which = tasks.add_mutually_exclusive_group()
    for view, about in (
        ("sent", "only what you sent"),
        ("received", "only what was sent to you"),
        ("open", "only what you hold, and what you sent that is not over"),
    ):
        which.add_argument(
            f"--{view}", dest="view", action="store_const", const=view, default="all", help=about
        )
    tasks.add_argument(
        "--all", action="store_true", help="of all your agents on this machine, as you see them "
        "anyway outside of any host; --agent ID lists those of one",
    )  # fmt: skip
    other = tasks.add_argument(
        "--with", dest="other", metavar="ID", help="only with this agent or role:NAME"
    )
    completed(other)
    tasks.add_argument(
        "--state", choices=_STATES, metavar="STATE", help="such as completed or open"
    )
    tasks.add_argument("--thread", metavar="ID", help="only this conversation")
    add_page(tasks)

    search = command(commands, "search", "find tasks of all your agents by words", agent=False)
    add_words(search, "+", "words that all stand in a task's texts")
    add_page(search)
    # As `tasks`, of which all but the words is settled.
    search.set_defaults(all=True, view="all", other=None, state=None, thread=None)

    audit = command(commands, "audit", "list the steps of all your agents' tasks", agent=False)
    audit.add_argument("--limit", type=count(10_000), default=100, metavar="N", help="the last N")
    export = command(commands, "export", "print all steps of tasks with their texts", agent=False)
    export.add_argument(
        "--markdown", action="store_true", help="as entries of a diary, texts in frames (default)"
    )
    export.add_argument(
        "--cursor",
        metavar="NAME",
        help="go on behind what the last export of that name, and of that agent, printed",
    )
    for trail in (audit, export):
        completed(trail.add_argument("--agent", metavar="ID", help="only this agent's tasks"))
        add_since(trail)
        trail.add_argument("--follow", action="store_true", help="go on with each new step")
        # By these another process goes on, see `tools.history`.
        trail.set_defaults(after=0, until=None, behind=None, noted=())
    audit.set_defaults(cursor=None)
