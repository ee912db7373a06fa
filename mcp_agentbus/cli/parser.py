# SPDX-License-Identifier: Apache-2.0
"""What can be typed."""

from __future__ import annotations

import argparse

from mcp_agentbus.cli import agent, install
from mcp_agentbus.core import hosts
from mcp_agentbus.version import __version__


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="agentbus",
        description="Durable, honest hand-off between coding agents.",
        epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no bus server, 4 timed out.",
    )
    top.add_argument("--version", action="version", version=f"agentbus {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_task_commands(commands)
    _add_inbox_commands(commands)
    _add_keeper_commands(commands)
    return top


_Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for it


def _command(
    commands: _Commands[argparse.ArgumentParser], name: str, help_: str, *, agent: bool = True
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.")
    if agent:
        who = command.add_argument(
            "--agent", metavar="ID", help="who you are (default: by environment and folder)"
        )
        _completed(who)
    command.add_argument("--json", action="store_true", help="print JSON")
    return command


def _completed(argument: argparse.Action) -> None:
    """Have the tab key offer agents for an argument."""

    def agents(**asked: object) -> list[str]:
        from mcp_agentbus.cli import completion

        return completion.agents(**asked)

    argument.completer = agents  # type: ignore[attr-defined]  # argcomplete looks for it


def _add_body(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument(
        "--body-file", metavar="FILE", help=f"read the {what} from FILE, or from stdin if it is -"
    )


def _add_task_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    send = _command(commands, "send", "store a task for another agent")
    to = send.add_argument("to", help="agent id, role:NAME, all, or several joined by commas")
    _completed(to)
    send.add_argument("subject", help="one line, at most 200 characters")
    send.add_argument(
        "body", nargs="?", help="the task; other users of this machine can see it in the process "
        "list, so give private text on stdin or with --body-file",
    )  # fmt: skip
    _add_body(send, "task")
    send.add_argument("--priority", choices=("high", "normal", "low"), default="normal")
    send.add_argument("--task-type", default="default", metavar="WORD")
    send.add_argument("--thread", metavar="ID", help="the conversation it belongs to")
    send.add_argument("--in-reply-to", metavar="TASK", help="the task that it answers")
    send.add_argument("--expires-in", type=int, metavar="S", help="deadline (default: 7 days)")
    send.add_argument("--deliver-in", type=int, metavar="S", help="not offered before")
    send.add_argument("--notify", choices=("live", "never", "wake"), default="live")
    send.add_argument("--request-id", metavar="ID", help="the same again stores nothing new")
    send.add_argument("--wait", type=float, metavar="S", help="wait for the result")

    result = _command(commands, "result", "publish the status or result of a claimed task")
    result.add_argument("task_id", metavar="TASK")
    result.add_argument(
        "status",
        choices=(
            "working", "completed", "failed", "rejected", "needs_approval", "released", "cancelled",
        ),
    )  # fmt: skip
    result.add_argument("--summary", default="", metavar="TEXT")
    _add_body(result, "result")
    result.add_argument("--artifact", action="append", default=[], metavar="REF")
    result.add_argument("--progress", type=float, metavar="PERCENT")

    task = _command(commands, "task", "show the life of a task that was sent or received")
    task.add_argument("task_id", metavar="TASK")


def _add_inbox_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    inbox = _command(commands, "inbox", "claim waiting tasks for 2 hours, and show results")
    inbox.add_argument("--limit", type=int, default=5, metavar="N", help="1 to 50 (default: 5)")
    inbox.add_argument("--peek", action="store_true", help="claim nothing")
    inbox.add_argument("--thread", metavar="ID", help="only this conversation; claims nothing")
    inbox.add_argument("--full", action="store_true", help="show long texts too")
    inbox.add_argument("--cursor", help="from the answer before")

    watch = _command(commands, "watch", "wait for a task or a result")
    watch.add_argument("--timeout", type=float, default=45, metavar="S", help="default: 45")
    watch.add_argument("--task", metavar="TASK", help="wait for the result of this task only")
    watch.add_argument("--priority", choices=("high", "normal", "low"))
    watch.add_argument(
        "--notices", action="store_true", help="print the listener's notices, a line each, "
        "go on; for hosts that wake at a line of output",
    )  # fmt: skip
    watch.add_argument(
        "--follow", action="store_true", help="print a line for each event, claim nothing, go on"
    )

    agents = _command(commands, "agents", "list the agents on the bus")
    agents.add_argument("query", nargs="?", default="", help="part of an id, role or host")
    agents.add_argument("--online", action="store_true", help="only those who are there")
    agents.add_argument("--limit", type=int, default=100, metavar="N")
    agents.add_argument("--cursor", help="from the answer before")


def _add_keeper_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    _command(commands, "parked", "list tasks that were set aside, and why")
    replay = _command(commands, "replay", "offer a parked task again")
    replay.add_argument("which", metavar="TASK", help="its id, or its number in `parked`")

    about = "start, stop or look at this user's server"
    server = commands.add_parser("server", help=about, description=f"{about.capitalize()}.")
    actions = server.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, does in (
        ("start", "start it, if it does not run"),
        ("stop", "stop it; its tasks are kept"),
        ("status", "show where it is and what it holds"),
    ):
        _command(actions, action, does, agent=False)
    config = _command(
        actions, "config", "print the configuration of a server for several machines", agent=False
    )
    config.add_argument("--listen", default="127.0.0.1:4222", metavar="HOST:PORT")
    config.add_argument("--store", default="/var/lib/agentbus", metavar="DIR")
    config.add_argument("--max-store", type=float, default=8, metavar="GIB", help="default: 8")
    config.add_argument("--tls-cert", metavar="FILE", help="needed unless it is on loopback")
    config.add_argument("--tls-key", metavar="FILE")

    _command(commands, "serve", "speak MCP on stdin and stdout, for one session of a host")

    listen = _command(
        commands, "listen", "wake this machine's agents for urgent tasks", agent=False
    )
    act = listen.add_mutually_exclusive_group()
    act.add_argument("--status", action="store_true", help="show what the running one does")
    act.add_argument("--stop", action="store_true", help="end the running one")
    act.add_argument("--replace", action="store_true", help="end the running one and take over")
    act.add_argument("--install", action="store_true", help="have systemd or launchd keep it")
    act.add_argument("--uninstall", action="store_true", help="undo --install")
    act.add_argument("--while-needed", action="store_true", help=argparse.SUPPRESS)

    agent.add_agent_command(commands)

    install.add_install_commands(commands)
    _add_doctor(commands)
    # Done by `__main__` before any of this is read; here for --help.
    hook = commands.add_parser("hook", help="tell a host's session of new mail; hosts call it")
    hook.add_argument("host", choices=hosts.HOOKED)
    hook.add_argument("event", metavar="EVENT")
    completion = _command(
        commands, "completion", "print what makes a shell's tab key know agentbus", agent=False
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))

    demo = _command(commands, "demo", "show a task's way from one agent to another", agent=False)
    demo.add_argument("--wake", action="store_true", help="to an agent that has no session")
    demo.add_argument("folder", nargs="?", default=".", help="what the task is about")


def _add_doctor(commands: _Commands[argparse.ArgumentParser]) -> None:
    doctor = _command(
        commands, "doctor", "look whether all works here, and say how to mend it", agent=False
    )
    act = doctor.add_mutually_exclusive_group()
    act.add_argument(
        "--fix", action="store_true", help="mend what is agentbus's own: modes, server, listener"
    )
    act.add_argument(
        "--self-test", action="store_true", help="send a task through the bus and back"
    )
    doctor.add_argument("--dry-run", action="store_true", help="with --fix: only say what")
    doctor.add_argument("--wake", metavar="AGENT", help="with --self-test: really start this agent")
