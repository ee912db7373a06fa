# SPDX-License-Identifier: Apache-2.0
"""`agentbus agent`: which agents of this machine may be woken, and how.

    $ agentbus agent add coder --host claude-code --dir ~/shop
    coder is written to ~/.config/agentbus/config.toml.

Imported for --help, so it imports nothing but the standard library at its top.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp_agentbus.core import hosts

if TYPE_CHECKING:
    from mcp_agentbus.config.rules import Rules
    from mcp_agentbus.config.settings import Settings

_Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for it


def add_agent_command(commands: _Commands[Any]) -> None:
    """Add `agent` and its own commands to the parser's."""
    about = "say which agents of this machine may be woken, and how"
    agent = commands.add_parser("agent", help=about, description=f"{about.capitalize()}.")
    actions = agent.add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=_WithProgram
    )
    _add_add(actions)
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
    wakes.add_argument("--limit", type=int, default=5, metavar="N", help="default: 5")
    for one in (remove, listed, wake, wakes):
        one.add_argument("--json", action="store_true", help="print JSON")


def _add_add(actions: _Commands[Any]) -> None:
    add = actions.add_parser(
        "add",
        help="add an agent to config.toml and to the bus",
        epilog="With --host command, write the program and its arguments after --. "
        "The notice comes on its standard input.",
    )
    add.add_argument("id", metavar="ID")
    add.add_argument(
        "--host", metavar="H", help=" or ".join((", ".join(hosts.WOKEN[:-1]), hosts.WOKEN[-1]))
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
    add.add_argument("--time-limit", type=int, metavar="S", help="a wake is ended after S seconds")
    add.add_argument("--replace", action="store_true", help="write it anew; it keeps its limits")
    add.add_argument("--json", action="store_true", help="print JSON")


class _WithProgram(argparse.ArgumentParser):
    """Keeps what follows `--` as it is: argparse would take its options for ours."""

    def parse_known_args(  # type: ignore[override]  # its overloads say the same
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        given = list(args or ())
        cut = given.index("--") if "--" in given else len(given)
        if given[cut + 1 :] and not self.prog.endswith(" add"):
            self.error("only `agent add` takes a program after --")
        found, rest = super().parse_known_args(given[:cut], namespace)
        found.argv = given[cut + 1 :]
        return found, rest


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do what was typed after `agentbus agent`, and return the exit code.

    Raises:
        AgentbusError: it was refused, or the bus was not there.
    """
    if args.action == "add":
        return await _add(args, settings)
    if args.action == "remove":
        return _remove(args, settings)
    if args.action in {"wake", "wakes"}:
        return (_wake if args.action == "wake" else _wakes)(args, settings)
    return _list(args, settings)


async def _add(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus.config import editor  # it needs tomlkit

    keys = _keys(args, settings)
    written = editor.add(settings, args.id, replace=args.replace, **keys)
    await _register(args.id, written)
    rules = written.rules[args.id]
    listener, elsewhere = _reload(written)
    data = {
        **_data(rules),
        "config_file": str(settings.config_file),
        "registered": True,
        "listener": listener,
        "elsewhere": elsewhere,
    }
    _print(args, _added_text(rules, written, _next(listener, elsewhere)), data)
    return 0


def _reload(settings: Settings) -> tuple[int | None, str]:
    """Have the listener read the configuration.

    Returns its pid, or None if none does, and how it has other folders or another bus, if it has.
    """
    from mcp_agentbus.errors import AgentbusError
    from mcp_agentbus.listener import status
    from mcp_agentbus.relay import local_socket

    try:
        said = local_socket.ask(settings, {"op": "reload"})
    except AgentbusError:
        return None, ""
    elsewhere = status.elsewhere(settings, said)
    return (None if elsewhere else int(said["pid"])), elsewhere


def _next(listener: int | None, elsewhere: str) -> str:
    """Say who looks after an agent that was added."""
    from mcp_agentbus.listener import status

    if listener:
        return f"The listener that runs (pid {listener}) looks after it from now on."
    if elsewhere:
        return f"THE LISTENER THAT RUNS DOES NOT LOOK AFTER IT: {elsewhere}. {status.ELSEWHERE}"
    return "Next: agentbus listen, or agentbus listen --install to keep it running."


async def _register(agent: str, settings: Settings) -> None:
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.errors import AgentbusError
    from mcp_agentbus.store import roster, streams

    try:
        async with Bus.connect(settings) as bus:
            await streams.ensure_streams(bus)
            await roster.register(bus, settings.agents[agent], None)
    except AgentbusError as error:
        raise type(error)(
            f"{agent} is written to {settings.config_file}, but the bus does not know it yet: "
            f"{error.message}",
            hint=f"Then run the same command with --replace. {error.hint}",
        ) from None


def _keys(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Return the keys of config.toml for what was typed.

    Raises:
        BadInput: the host or the wake profile must be given, or the folder is not there.
    """
    from mcp_agentbus.config import identity
    from mcp_agentbus.config.rules import profile_of
    from mcp_agentbus.errors import BadInput

    host = args.host or identity.host_of(settings.environ)
    if host not in hosts.WOKEN:
        wrong = f"{args.host!r} is no host that can be woken." if args.host else "Which host?"
        raise BadInput(wrong, hint=f"Give --host with one of {', '.join(hosts.WOKEN)}.")
    if profile_of(host, args.wake) is None:
        raise BadInput(
            f"With --host {host} the wake profile must be given as work or hold.",
            hint="Its own rules hold in a woken session, and agentbus cannot limit them. "
            "Give --wake work to allow that.",
        )
    folder = Path(args.dir or ".").expanduser().absolute()
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder.", hint="Give --dir with the agent's folder.")
    token = args.token_file and str(Path(args.token_file).expanduser().absolute())
    asks = "gateway_url" in hosts.named(host).keys and not (token and args.gateway_url)
    gateway = _gateway(settings) if asks else {}
    return {
        "host": host,
        "dir": str(folder.resolve()),
        "wake": args.wake,
        "command": args.argv or None,
        "wake_from": args.wake_from,
        "quiet_hours": args.quiet_hours,
        "description": args.description,
        "roles": args.role,
        "permission_mode": args.permission_mode,
        "allow": args.allow,
        "resume": args.resume or None,
        "chat": args.chat,
        "token_file": token or gateway.get("token_file"),
        "gateway_url": args.gateway_url or gateway.get("gateway_url"),
        "time_limit_s": args.time_limit,
    }


def _gateway(settings: Settings) -> dict[str, str]:
    """Return what `agentbus install openclaw` has left for the wakes of its gateway."""
    from mcp_agentbus.installers import openclaw
    from mcp_agentbus.installers.steps import Machine

    found: dict[str, str] = openclaw.gateway(Machine(settings))
    return found


def _remove(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus.config import editor  # it needs tomlkit

    editor.remove(settings, args.id)
    _reload(settings)
    text = (
        f"{args.id} is taken out of {settings.config_file}: nothing starts it any more.\n"
        "It stays on the bus, which keeps tasks for it."
    )
    _print(args, text, {"id": args.id, "config_file": str(settings.config_file), "removed": True})
    return 0


def _wake(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus.listener import status
    from mcp_agentbus.relay import local_socket

    found = local_socket.ask(settings, {"op": "wake", "agent": args.id})
    _print(args, status.woken_text(found), found)
    return 0


def _wakes(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus.errors import BadSetup
    from mcp_agentbus.listener import status
    from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken

    try:
        rows = Ledger(settings.ledger_file).latest(args.id, max(1, args.limit))
    except LedgerBroken as error:
        raise BadSetup(str(error), hint="Mend or move that file; nothing is woken.") from None
    _print(args, status.wakes_text(args.id, rows), [status.wake_data(row) for row in rows])
    return 0


def _list(args: argparse.Namespace, settings: Settings) -> int:
    rows = [_data(rules) for _, rules in sorted(settings.rules.items())]
    rows += [
        {"id": agent.id, "host": agent.host, "dir": None, "wake": None, "quiet_hours": None}
        for name, agent in sorted(settings.agents.items())
        if name not in settings.rules
    ]
    lines = [_row(row) for row in rows] or [
        f"No agent is set up in {settings.config_file}, so nothing is woken.",
        "Add one: agentbus agent add ID --host claude-code --dir FOLDER",
    ]
    _print(args, "\n".join(lines), {"agents": rows, "config_file": str(settings.config_file)})
    return 0


def _row(row: dict[str, Any]) -> str:
    if row["dir"] is None:
        return f"{row['id']}  {row['host']}  cannot be woken: it has no dir"
    quiet = f"  quiet {row['quiet_hours']}" if row["quiet_hours"] else ""
    return f"{row['id']}  {row['host']}  {row['dir']}  wake {row['wake']}{quiet}"


def _data(rules: Rules) -> dict[str, Any]:
    return {
        "id": rules.agent,
        "host": rules.host,
        "dir": str(rules.folder),
        "wake": rules.profile,
        "wake_from": sorted(rules.wake_from),
        "quiet_hours": _hours(rules),
        "command": list(rules.command),
        "permission_mode": rules.permission_mode,
        "allow": list(rules.allow),
        "time_limit_s": rules.limits.time_limit_s,
    }


def _hours(rules: Rules) -> str | None:
    hours = rules.quiet_hours
    return hours and f"{hours[0]:%H:%M}-{hours[1]:%H:%M}"


def _session_there(rules: Rules, settings: Settings) -> str:
    """Say which agent a session is that is opened in the folder; it should be this one."""
    from dataclasses import replace

    from mcp_agentbus.config import identity

    environ = {**settings.environ, "AGENTBUS_AGENT": "", "AGENTBUS_HOST": rules.host}
    who = identity.who(replace(settings, environ=environ), folder=rules.folder).id
    if who == rules.agent:
        return f"A session that you open there is {who}, too."
    return (
        f"A session that you open there is {who}, ANOTHER AGENT WITH AN INBOX OF ITS OWN: by its "
        ".agentbus.toml, or since more agents than one are set up for this folder."
    )


def _added_text(rules: Rules, settings: Settings, next_: str) -> str:
    """Say what was written, who may wake it with which permissions, and what comes next."""
    from mcp_agentbus.config.rules import MEANS
    from mcp_agentbus.config.values import ANY_SENDER

    senders = "your own agents on this machine"
    if rules.wake_from:
        senders = (
            "every sender on the bus"
            if ANY_SENDER in rules.wake_from
            else f"{senders}, {', '.join(sorted(rules.wake_from))}"
        )
    lines = [
        f"{rules.agent} is written to {settings.config_file} and registered on the bus.",
        f"Host {rules.host} in {rules.folder}.",
        f"Wake {rules.profile}: {MEANS[rules.profile]}.",
    ]
    host = hosts.named(rules.host)
    if host.has_folder:
        lines[1] += f" {_session_there(rules, settings)}"
    if rules.profile != "hold":
        limits = rules.limits
        quiet = f", not from {_hours(rules)}".replace("-", " to ") if rules.quiet_hours else ""
        lines.append(f"May wake it: {senders}{quiet}.")
        lines.append(
            f"At most {limits.per_hour} wakes an hour and {limits.per_day} a day, "
            f"each of {limits.time_limit_s} s."
        )
    if rules.profile == "work" and not host.limited:
        lines.append("Permissions: those that it has by itself; agentbus cannot limit them.")
    elif rules.profile == "work":
        mode = rules.permission_mode or "as its host is set up"
        lines.append(
            f"Permissions: {mode}; allowed besides: {', '.join(rules.allow) or 'nothing'}."
        )
    if rules.command:
        lines.append(f"Program: {' '.join(rules.command)}")
    return "\n".join([*lines, next_])


def _print(args: argparse.Namespace, text: str, data: object) -> None:
    print(json.dumps(data, ensure_ascii=False) if args.json else text, flush=True)
