# SPDX-License-Identifier: Apache-2.0
"""The commands that hand tasks over: send, result, task; inbox, watch, agents; parked, replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_agentbus.cli.arguments import count, duration, moment, whole_seconds
from mcp_agentbus.cli.grammar.command import (
    WATCH_MAX_S,
    WATCH_S,
    WEEK_S,
    add_body,
    add_task,
    command,
    completed,
    task_offered,
)

if TYPE_CHECKING:
    from mcp_agentbus.cli.arguments import Parser
    from mcp_agentbus.cli.grammar.command import Commands


def add(commands: Commands) -> None:
    """Declare them."""
    _add_send(commands)
    _add_tell(commands)
    _add_task_commands(commands)
    _add_inbox_commands(commands)
    _add_parking_commands(commands)


def _add_send(commands: Commands) -> None:
    send = command(commands, "send", "store a task for another agent")
    _add_addressee(send)
    send.add_argument(
        "body", nargs="?", help="the task; other users of this machine can see it in the process "
        "list, so give private text on stdin or with --body-file",
    )  # fmt: skip
    add_body(send, "task", optional=False)
    send.add_argument("--priority", choices=("high", "normal", "low"), default="normal")
    _add_about(send)
    send.add_argument(
        "--deliver-in", type=whole_seconds(1, WEEK_S), metavar="S", help="not offered before"
    )
    send.add_argument("--notify", choices=("live", "never", "wake"), default="live")
    send.add_argument(
        "--wait",
        type=duration(0, WATCH_MAX_S),
        metavar="S",
        help="wait for the results; exit code 6 if not each was completed",
    )
    send.add_argument("--no-body", action="store_true", help="the subject says all of it")
    completed(
        send.add_argument("--reply-to", metavar="ID", help="an agent that gets the result as well")
    )
    send.set_defaults(expect="answer")


def _add_tell(commands: Commands) -> None:
    tell = command(commands, "tell", "send a word: shown once at its reader's next call, no answer")
    _add_addressee(tell)
    tell.add_argument("body", nargs="?", help="what does not fit into the subject")
    add_body(tell, "rest of it")
    tell.add_argument(
        "--priority", choices=("high", "normal", "low"), default="normal",
        help="high is read first, and wakes nobody either",
    )  # fmt: skip
    _add_about(tell)
    tell.set_defaults(expect="nothing", notify="live", deliver_in=None, wait=None, reply_to=None)


def _add_addressee(send: Parser) -> None:
    to = send.add_argument("to", help="agent id, role:NAME, all, or several joined by commas")
    completed(to)
    send.needs_each_word = True
    send.add_argument("subject", help="one line, at most 200 characters")


def _add_about(send: Parser) -> None:
    send.add_argument("--task-type", default="default", metavar="WORD")
    send.add_argument(
        "--content-type", choices=("text", "markdown", "json"), default="text",
        help="told to the reader, not looked at",
    )  # fmt: skip
    send.add_argument("--thread", metavar="ID", help="the conversation it belongs to")
    replies = send.add_argument("--in-reply-to", metavar="TASK", help="the task that it answers")
    task_offered(replies)
    send.add_argument(
        "--expires-in", type=whole_seconds(1, WEEK_S), metavar="S",
        help="deadline in seconds, or such as 90m or 2d (default: 7d)",
    )  # fmt: skip
    send.add_argument(
        "--request-id", metavar="ID", help="the same again from this machine stores nothing new"
    )


def _add_task_commands(commands: Commands) -> None:
    result = command(commands, "result", "publish the status or result of a claimed task")
    add_task(result)
    result.add_argument(
        "status",
        choices=(
            "working", "completed", "failed", "rejected", "needs_approval", "needs_input",
            "released", "cancelled", "answered",
        ),
    )  # fmt: skip
    result.text_option = "--summary"
    result.add_argument("--summary", default="", metavar="TEXT")
    add_body(result, "result")
    result.add_argument("--artifact", action="append", default=[], metavar="REF")
    result.add_argument("--progress", type=float, metavar="PERCENT")

    answer = command(commands, "answer", "answer the question of a task's worker")
    answer.needs_each_word = True
    add_task(answer)
    answer.add_argument("body", nargs="?", help="the answer; else on stdin or with --body-file")
    add_body(answer, "answer", optional=False)
    answer.set_defaults(status="answered", summary="", artifact=[], progress=None)

    for word, about in (
        ("approve", "allow what an agent of yours asks its user to decide"),
        ("deny", "forbid what an agent of yours asks its user to decide"),
    ):
        decide = command(commands, word, about, agent=False)
        decide.text_option = "--note"
        add_task(decide)
        decide.add_argument("--note", default="", metavar="TEXT", help="what it is told with that")
        if word == "approve":
            decide.add_argument(
                "--wake", choices=("answer", "work"),
                help="have the listener start its agent for this task alone: to read and answer, "
                "or to work with its host's own permissions",
            )  # fmt: skip

    task = command(commands, "task", "show the life of a task that was sent or received")
    add_task(task)
    task.add_argument("--cursor", help="from the answer before: the rest of its text")


def _add_inbox_commands(commands: Commands) -> None:
    inbox = command(commands, "inbox", "claim waiting tasks for 2 hours, and show results")
    inbox.add_argument(
        "--limit",
        type=count(50),
        metavar="N",
        help="claim N, 1 to 50 (default: until 5 are held)",
    )
    inbox.add_argument("--peek", action="store_true", help="claim nothing, mark nothing as seen")
    inbox.add_argument("--thread", metavar="ID", help="only this conversation; claims nothing")
    inbox.add_argument("--full", action="store_true", help="show long texts too")
    inbox.add_argument("--cursor", help="from the answer before")

    watch = command(commands, "watch", "wait for a task or a result")
    watch.add_argument(
        "--timeout", type=duration(0, WATCH_MAX_S), metavar="S",
        help=f"in seconds, or such as 5m (default: {WATCH_S})",
    )  # fmt: skip
    waited_for = watch.add_argument(
        "--task", metavar="TASK",
        help="wait for the result of this task only; exit code 6 if it was not completed",
    )  # fmt: skip
    task_offered(waited_for)
    watch.add_argument("--priority", choices=("high", "normal", "low"))
    watch.add_argument(
        "--notices", action="store_true", help="print the listener's notices, a line each, "
        "go on; for hosts that wake at a line of output",
    )  # fmt: skip
    watch.add_argument(
        "--follow", action="store_true", help="print a line for each event, claim nothing, go on; "
        "begins with what waits, and the results that were not seen yet",
    )  # fmt: skip
    watch.add_argument(
        "--since", type=moment, metavar="WHEN", help="with --follow: begin with every step since "
        "then instead; 90s, 15m, 2h, 3d ago, or a time such as 2026-11-20T18:00Z",
    )  # fmt: skip

    agents = command(commands, "agents", "list the agents on the bus")
    agents.add_argument("query", nargs="?", default="", help="part of an id, role or host")
    agents.add_argument("--online", action="store_true", help="only those who are there")
    agents.add_argument("--limit", type=count(1000), default=100, metavar="N")
    agents.add_argument("--cursor", help="from the answer before")


def _add_parking_commands(commands: Commands) -> None:
    command(commands, "parked", "list tasks that were set aside, and why")
    replay = command(commands, "replay", "offer a parked task again")
    task_offered(
        replay.add_argument("which", metavar="TASK", help="its id, or its number in `parked`")
    )
