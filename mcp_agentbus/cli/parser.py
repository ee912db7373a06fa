# SPDX-License-Identifier: Apache-2.0
"""What can be typed: every command with its arguments and its help, declared in one place.

    >>> parser().parse_args(["watch", "--timeout", "5"]).timeout
    5.0

Who does a command is in `main.COMMANDS`. Every command is declared before any is done, so this
imports next to nothing, and spells the words of the bus itself.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from mcp_agentbus.cli.arguments import Parser, WithProgram, count, duration, moment, whole_seconds
from mcp_agentbus.core import hosts
from mcp_agentbus.version import __version__

if TYPE_CHECKING:
    # argparse has no public name for it.
    _Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001

# In seconds: how long a call may wait, and how far a deadline may lie ahead.
_WATCH_MAX_S: Final = 3600
_WEEK_S: Final = 7 * 24 * 3600
_TASK: Final = "its id, or the first 6 characters and more"


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = Parser(
        prog="agentbus",
        description="Durable, honest hand-off between coding agents.",
        epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no bus server, 4 timed out, "
        "5 not known whether it was done.",
    )
    top.add_argument("--version", action="version", version=f"agentbus {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_task_commands(commands)
    _add_inbox_commands(commands)
    _add_parking_commands(commands)
    _add_server(commands)
    serve = _command(commands, "serve", "speak MCP on stdin and stdout, for one session of a host")
    serve.add_argument(
        "--watch-max", type=duration(1, _WATCH_MAX_S), default=_WATCH_MAX_S, metavar="S",
        help="the most that watch_inbox waits, for a client that ends longer calls (default: 1h)",
    )  # fmt: skip
    _add_listen(commands)
    _add_agent(commands)
    _add_install_commands(commands)
    _add_doctor(commands)
    _add_hook(commands)
    _add_completion(commands)
    _add_demo(commands)
    return top


def _command(commands: _Commands, name: str, help_: str, *, agent: bool = True) -> Parser:
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


def _add_task_commands(commands: _Commands) -> None:
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
    send.add_argument(
        "--expires-in", type=whole_seconds(1, _WEEK_S), metavar="S",
        help="deadline in seconds, or such as 90m or 2d (default: 7d)",
    )  # fmt: skip
    send.add_argument(
        "--deliver-in", type=whole_seconds(1, _WEEK_S), metavar="S", help="not offered before"
    )
    send.add_argument("--notify", choices=("live", "never", "wake"), default="live")
    send.add_argument("--request-id", metavar="ID", help="the same again stores nothing new")
    send.add_argument(
        "--wait", type=duration(0, _WATCH_MAX_S), metavar="S", help="wait for the results"
    )
    send.add_argument("--no-body", action="store_true", help="the subject says all of it")

    result = _command(commands, "result", "publish the status or result of a claimed task")
    result.add_argument("task_id", metavar="TASK", help=_TASK)
    result.add_argument(
        "status",
        choices=(
            "working", "completed", "failed", "rejected", "needs_approval", "released", "cancelled",
        ),
    )  # fmt: skip
    result.text_option = "--summary"
    result.add_argument("--summary", default="", metavar="TEXT")
    _add_body(result, "result")
    result.add_argument("--artifact", action="append", default=[], metavar="REF")
    result.add_argument("--progress", type=float, metavar="PERCENT")

    task = _command(commands, "task", "show the life of a task that was sent or received")
    task.add_argument("task_id", metavar="TASK", help=_TASK)
    task.add_argument("--cursor", help="from the answer before: the rest of its text")


def _add_inbox_commands(commands: _Commands) -> None:
    inbox = _command(commands, "inbox", "claim waiting tasks for 2 hours, and show results")
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

    watch = _command(commands, "watch", "wait for a task or a result")
    watch.add_argument(
        "--timeout", type=duration(0, _WATCH_MAX_S), default=45, metavar="S",
        help="in seconds, or such as 5m (default: 45)",
    )  # fmt: skip
    watch.add_argument("--task", metavar="TASK", help="wait for the result of this task only")
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

    agents = _command(commands, "agents", "list the agents on the bus")
    agents.add_argument("query", nargs="?", default="", help="part of an id, role or host")
    agents.add_argument("--online", action="store_true", help="only those who are there")
    agents.add_argument("--limit", type=count(1000), default=100, metavar="N")
    agents.add_argument("--cursor", help="from the answer before")


def _add_parking_commands(commands: _Commands) -> None:
    _command(commands, "parked", "list tasks that were set aside, and why")
    replay = _command(commands, "replay", "offer a parked task again")
    replay.add_argument("which", metavar="TASK", help="its id, or its number in `parked`")


def _add_server(commands: _Commands) -> None:
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


def _add_listen(commands: _Commands) -> None:
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


def _add_agent(commands: _Commands) -> None:
    about = "say which agents of this machine may be woken, and how"
    agent = commands.add_parser("agent", help=about, description=f"{about.capitalize()}.")
    actions = agent.add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=WithProgram
    )
    add = actions.add_parser(
        "add",
        help="add an agent to config.toml and to the bus",
        epilog="With --host command, write the program and its arguments after --. "
        "The notice comes on its standard input.",
    )
    _add_agent_keys(add)
    remove = actions.add_parser("remove", help="take an agent out of config.toml")
    remove.add_argument("id", metavar="ID")
    listed = actions.add_parser("list", help="list the agents in config.toml")
    wake = actions.add_parser(
        "wake",
        help="look again at an agent that is held",
        description="Forget an agent's failed wakes and look at it now. "
        "Its limits and quiet hours stay.",
    )
    wake.add_argument("id", metavar="ID")
    wakes = actions.add_parser(
        "wakes",
        help="list the last wakes of an agent",
        description="List the last wakes of an agent, how each ended, and what it printed.",
    )
    wakes.add_argument("id", metavar="ID")
    wakes.add_argument("--limit", type=count(1000), default=5, metavar="N", help="default: 5")
    rename = actions.add_parser(
        "rename",
        help="give an agent another name",
        description="Give an agent another name, with its folder, its rules and what waits for it.",
    )
    rename.add_argument("old", metavar="OLD")
    rename.add_argument("new", metavar="NEW")
    forget = actions.add_parser(
        "forget",
        help="take an agent off the bus, if nothing waits for it",
        description="Take an agent off the bus and out of config.toml, if nothing waits for it.",
    )
    forget.add_argument("id", metavar="ID")
    forget.add_argument("--yes", action="store_true", help="do not ask")
    allow = actions.add_parser(
        "allow",
        help="let the .agentbus.toml of a folder count",
        description="Let the .agentbus.toml of a folder count as it is now: "
        "the name that it gives, and its roles.",
    )
    allow.add_argument("folder", metavar="FOLDER")
    for action in (remove, listed, wake, wakes, rename, forget, allow):
        action.add_argument("--json", action="store_true", help="print JSON")


def _add_agent_keys(add: argparse.ArgumentParser) -> None:
    add.add_argument("id", metavar="ID")
    add.add_argument(
        "--host", metavar="H", help=f"{', '.join(hosts.WOKEN[:-1])} or {hosts.WOKEN[-1]}"
    )
    add.add_argument("--dir", metavar="D", help="where it is started (default: here)")
    add.add_argument("--wake", metavar="P", help="hold, answer or work")
    add.add_argument(
        "--wake-from", action="append", metavar="X",
        help="a sender that may wake it besides your own agents, or *; may be repeated",
    )  # fmt: skip
    add.add_argument("--quiet-hours", metavar="R", help="no wakes then: 22:00-07:00")
    add.add_argument("--description", metavar="T", help="one line for the roster")
    add.add_argument("--role", action="append", metavar="R", help="a shared inbox; may be repeated")
    add.add_argument("--permission-mode", metavar="M", help="the host's mode, such as acceptEdits")
    add.add_argument(
        "--allow", action="append", metavar="R", help="the host's allow rule; may be repeated"
    )
    add.add_argument("--resume", action="store_true", help="go on with its last conversation")
    add.add_argument("--chat", metavar="C", help="cursor: the chat that is continued")
    add.add_argument(
        "--token-file",
        metavar="F",
        help="openclaw: a 0600 file with hooks.token (default: what install openclaw wrote)",
    )
    add.add_argument(
        "--gateway-url",
        metavar="U",
        help="openclaw: its gateway (default: on the port in openclaw.json)",
    )
    add.add_argument(
        "--time-limit", type=whole_seconds(1, _WEEK_S), metavar="S",
        help="a wake is ended after so many seconds, or such as 20m",
    )  # fmt: skip
    add.add_argument("--replace", action="store_true", help="write it anew; it keeps its limits")
    add.add_argument("--json", action="store_true", help="print JSON")


def _add_install_commands(commands: _Commands) -> None:
    setup = commands.add_parser(
        "setup",
        help="connect every host that is here, and keep a listener running",
        description="Start the server, connect the hosts that are found here, have systemd or "
        "launchd keep a listener, and look whether all of it works.",
    )
    setup.add_argument(
        "--host", action="append", choices=sorted(hosts.CONNECTED), help="only this one"
    )
    setup.add_argument("--no-listener", action="store_true", help="leave the listener to you")
    install = commands.add_parser("install", help="connect a host, or print how any is connected")
    install.add_argument("host", nargs="*", metavar="HOST", help=", ".join(hosts.CONNECTED))
    install.add_argument(
        "--print", action="store_true", dest="print_", help="print the entry for any MCP host"
    )
    install.add_argument(
        "--agent",
        metavar="ID",
        help="the agent that the host's sessions are (default: as its entry says, else openclaw "
        "for OpenClaw, and by the folder of each session for the others)",
    )
    install.add_argument(
        "--no-plugin",
        action="store_true",
        help=f"{', '.join(hosts.WITH_PLUGIN)}: only the server's entry, "
        "without skill, hooks and monitor",
    )
    uninstall = commands.add_parser("uninstall", help="take agentbus out of a host again")
    uninstall.add_argument("host", nargs="+", metavar="HOST", help=", ".join(hosts.CONNECTED))
    for command in (setup, install):
        command.add_argument(
            "--allow-tools",
            metavar="LIST",
            help=f"{', '.join(hosts.WITH_PLUGIN)}: the tools that run without asking you each "
            "time, with commas, or all or none (asked for once)",
        )
        command.add_argument(
            "--yes",
            action="store_true",
            help="ask nothing: go on, and let all tools but send_task run without asking",
        )
    for command in (setup, install, uninstall):
        command.add_argument("--dry-run", action="store_true", help="only say what would be done")
        command.add_argument("--json", action="store_true", help="print JSON")


def _add_doctor(commands: _Commands) -> None:
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


def _add_hook(commands: _Commands) -> None:
    hook = commands.add_parser("hook", help="tell a host's session of new mail; hosts call it")
    hook.add_argument("host", choices=hosts.HOOKED)
    hook.add_argument("event", metavar="EVENT")


def _add_completion(commands: _Commands) -> None:
    completion = _command(
        commands, "completion", "print what makes a shell's tab key know agentbus", agent=False
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))


def _add_demo(commands: _Commands) -> None:
    demo = _command(commands, "demo", "show a task's way from one agent to another", agent=False)
    demo.add_argument("--wake", action="store_true", help="to an agent that has no session")
    demo.add_argument("folder", nargs="?", default=".", help="what the task is about")
