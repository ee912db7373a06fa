# SPDX-License-Identifier: Apache-2.0
"""`agentbus setup`, `install` and `uninstall`: connect the hosts that are here, and undo that.

    $ agentbus setup --dry-run
    Claude Code 2.1.329, /usr/bin/claude
      would run: claude plugin marketplace add ...

What is about to be done can be told before (`--dry-run`), and what is said to work was asked for:
each host is made to start its server and to list its tools. Imported for --help, so it imports
nothing but the standard library at its top.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from mcp_agentbus.core.hosts import CONNECTED

if TYPE_CHECKING:
    from mcp_agentbus.config.settings import Settings
    from mcp_agentbus.installers.registry import Installer
    from mcp_agentbus.installers.steps import Machine, Step

_Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for it

#: The one host that gets a plugin.
_WITH_PLUGIN: Final = "claude-code"
# What a step says stands beside it if it is no longer, else below it.
_BESIDE_MAX_CHARS: Final = 40


def add_install_commands(commands: _Commands[Any]) -> None:
    """Add `setup`, `install` and `uninstall` to the parser's commands."""
    setup = commands.add_parser(
        "setup",
        help="connect every host that is here, and keep a listener running",
        description="Start the server, connect the hosts that are found here, have systemd or "
        "launchd keep a listener, and look whether all of it works.",
    )
    setup.add_argument("--host", action="append", choices=sorted(CONNECTED), help="only this one")
    setup.add_argument("--no-listener", action="store_true", help="leave the listener to you")
    setup.add_argument("--yes", action="store_true", help="do not ask whether to go on")
    install = commands.add_parser("install", help="connect a host, or print how any is connected")
    install.add_argument("host", nargs="*", metavar="HOST", help=", ".join(CONNECTED))
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
        help="claude-code: only the server's entry, without skill, hooks and monitor",
    )
    uninstall = commands.add_parser("uninstall", help="take agentbus out of a host again")
    uninstall.add_argument("host", nargs="+", metavar="HOST", help=", ".join(CONNECTED))
    for one in (setup, install, uninstall):
        one.add_argument("--dry-run", action="store_true", help="only say what would be done")
        one.add_argument("--json", action="store_true", help="print JSON")


async def run(args: argparse.Namespace, settings: Settings, out: Callable[[str], None]) -> int:
    """Do what was typed; return the exit code, which is 1 if a host is not connected after all.

    Raises:
        AgentbusError: it was refused before anything was done.
    """
    import asyncio

    from mcp_agentbus.installers.steps import Machine

    if args.command == "install":
        _check_options(args)
    work = _Work(args, Machine(settings), (lambda _: None) if args.json else out)
    if args.command == "setup":
        code = await asyncio.to_thread(work.setup)
    elif args.command == "install" and args.print_:
        from mcp_agentbus.installers import any_host

        out(any_host.printed(work.machine, args.agent))
        return 0
    else:
        code = await asyncio.to_thread(work.hosts, args.host)
    if args.json:
        out(json.dumps(work.told()))
    return code


def _check_options(args: argparse.Namespace) -> None:
    """See that the options of `agentbus install` go with its hosts.

    Raises:
        BadInput: they do not.
    """
    from mcp_agentbus.core.ids import agent_id
    from mcp_agentbus.errors import BadInput

    others = [name for name in args.host if name != _WITH_PLUGIN]
    if args.no_plugin and (others or not args.host):
        right = f"install {' '.join(others)}" if others else f"install {_WITH_PLUGIN} --no-plugin"
        said = f"--no-plugin is for {_WITH_PLUGIN} alone: no other host gets a plugin."
        raise BadInput(said, hint=f"Run `agentbus {right}`.")
    if args.agent is None:
        return
    agent_id(args.agent)
    if len(args.host) > 1:
        raise BadInput(
            "One --agent for several hosts: they would share one inbox.",
            hint="Run the command once for each host, with an id of its own.",
        )


class _Work:
    """Installs or uninstalls, and says what it does."""

    def __init__(
        self, args: argparse.Namespace, machine: Machine, out: Callable[[str], None]
    ) -> None:
        self.machine = machine
        self._args, self._out = args, out
        self._dry = bool(args.dry_run)
        self._removes = args.command == "uninstall"
        #: What became of each host: connected, removed, nothing, not_here, planned or failed.
        self.outcomes: dict[str, dict[str, str]] = {}
        # What would be done or was done, in order.
        self._planned: list[str] = []
        self._done: list[str] = []
        # Of `setup`: what doctor says is not well, and what its user is to do next.
        self._checks: list[dict[str, str]] = []
        self._next: list[str] = []

    def told(self) -> dict[str, Any]:
        """Return what --json prints."""
        told: dict[str, Any] = {"hosts": self.outcomes, "done": self._done}
        if self._dry:
            told["planned"] = self._planned
        if self._args.command == "setup":
            told |= {"checks": self._checks, "next": self._next}
        return told

    def hosts(self, names: Sequence[str]) -> int:
        """Install or uninstall the named hosts; return the exit code."""
        from mcp_agentbus.errors import BadInput
        from mcp_agentbus.installers.registry import installer

        wrong = [name for name in names if name not in CONNECTED]
        if wrong or not names:
            said = f"{wrong[0]!r} is no host." if wrong else "Which host?"
            raise BadInput(
                said,
                hint=f"Name {', '.join(CONNECTED)}; "
                "for any other host see `agentbus install --print`.",
            )
        for name in names:
            here = self._removes or installer(name).found(self.machine) is not None
            self._host(name, here=here, given=True)
        return self._code()

    def setup(self) -> int:
        """Do all of it; return the exit code."""
        from mcp_agentbus.installers.registry import installer

        names = self._args.host or list(CONNECTED)
        found = {name: installer(name).found(self.machine) for name in names}
        here = [name for name in names if found[name]]
        self._out("Found here:" if here else "Found here: no host")
        for name in here:
            self._out(f"  {found[name]}")
        if not self._dry and not self._agreed():
            return 1
        self._server()
        for name in names:
            self._host(name, here=name in here, given=bool(self._args.host))
        if not self._args.no_listener:
            self._listener()
        if self._dry:
            if not here:
                self._last_words(here)
            self._out("Nothing was done. Run the same without --dry-run.")
            return self._code()
        well = self._doctor()
        self._last_words(here)
        return self._code() or int(not well)

    def _agreed(self) -> bool:
        from mcp_agentbus.errors import BadInput

        if self._args.yes:
            return True
        # Python has None for a closed one.
        if self._args.json or not (sys.stdin and sys.stdin.isatty()):
            raise BadInput(
                "Nobody is there to be asked.",
                hint="Look at `agentbus setup --dry-run`, then give --yes.",
            )
        self._out("See every step before with `agentbus setup --dry-run`.")
        try:
            said = input("Go on? [Y/n] ").strip().lower()
        except EOFError:  # Ctrl-D
            said = "no"
            self._out("")
        if said in {"", "y", "yes"}:
            return True
        self._out("Nothing was done.")
        return False

    def _host(self, name: str, *, here: bool, given: bool) -> None:
        """Install or uninstall one host; only say that it is not here, if it was `given` by name.

        Raises:
            BadInput: it cannot be done as it was asked for.
        """
        from mcp_agentbus.errors import AgentbusError, BadInput
        from mcp_agentbus.installers.registry import installer

        host = installer(name)
        if not here:
            self._outcome(name, "not_here", "", shown=given)
            return
        try:
            steps = self._steps(host)
            self._out(f"{name}:")
            for said in self._take(steps):
                self._out(f"  {said}")
            if self._removes and not steps:
                self._outcome(name, "nothing", "")
            elif self._dry:
                self._outcome(name, "planned", "")
            elif self._removes:
                self._outcome(name, "removed", "")
            else:
                self._outcome(name, "connected", host.verify(self.machine))
        except BadInput:
            raise
        except AgentbusError as error:
            self._outcome(name, "failed", f"{error.message} {error.hint}".strip())

    def _steps(self, host: Installer) -> list[Step]:
        if self._removes:
            return host.uninstall(self.machine)
        return host.install(self.machine, **self._options())

    def _options(self) -> dict[str, Any]:
        """Return what was typed besides the host; `setup` leaves it to each installer."""
        if self._args.command != "install":
            return {}
        fallback = {"fallback": True} if self._args.no_plugin else {}
        return {"agent": self._args.agent, **fallback}

    def _take(self, steps: Sequence[Step]) -> Iterator[str]:
        for step in steps:
            if self._dry:
                self._planned.append(step.what)
                yield f"would {step.what}"
                continue
            said = step.do()
            self._done.append(step.what)
            if len(said) > _BESIDE_MAX_CHARS:
                yield step.what
                yield f"  {said}"
            else:
                yield f"{step.what}{': ' if said else ''}{said}"

    def _outcome(self, name: str, state: str, said: str, *, shown: bool = True) -> None:
        self.outcomes[name] = {"state": state, "said": said}
        words = {
            "connected": f"{name} connected, and asked",
            "removed": f"{name} removed",
            "nothing": "nothing of agentbus is there",
            "not_here": f"{name} is not here",
            "failed": f"{name} NOT {'REMOVED' if self._removes else 'CONNECTED'}",
            "planned": "",
        }[state]
        if shown and words:
            self._out(f"  {words}{': ' if said else ''}{said}")

    def _server(self) -> None:
        import asyncio

        from mcp_agentbus.store import status

        settings = self.machine.settings
        if settings.url:
            self._out(f"server: the shared one at {settings.url}")
        elif self._dry:
            self._planned.append("start the server, if it does not run")
            self._out("server: would be started, if it does not run")
        else:
            server = asyncio.run(status.start(settings))
            self._out(f"server: {server.how} at {server.url}")
            self._done.append("server")

    def _listener(self) -> None:
        """Have the service manager keep a listener, where there is one."""
        from mcp_agentbus.errors import BadSetup
        from mcp_agentbus.installers import service

        if self._dry:
            self._planned.append("have systemd or launchd keep a listener, if one is here")
            self._out("listener: would be kept running by systemd or launchd, if one is here")
            return
        try:
            said = service.manager().install(self.machine.settings)
            self._done += said
            self._out(f"listener: {'; '.join(said)}")
        except BadSetup as error:
            self._out(f"listener: not kept by a service manager ({error.message}). Sessions start")
            self._out("  one by themselves; to have one without them, run `agentbus listen`.")

    def _doctor(self) -> bool:
        """Look whether all of it works; tell what `agentbus doctor` tells."""
        import asyncio

        from mcp_agentbus.doctor.run import run

        if not self._args.json:
            return asyncio.run(run(self.machine.settings, self._out)) == 0
        said: list[str] = []
        code = asyncio.run(run(self.machine.settings, said.append, as_json=True))
        found = json.loads("".join(said))["checks"]
        self._checks = [one for one in found if one["state"] != "ok"]
        return code == 0

    def _last_words(self, here: Sequence[str]) -> None:
        self._next = [
            "Next: restart your hosts' sessions, then ask one to call list_agents.",
            "Whether a task comes through: agentbus doctor --self-test",
        ]
        if not here:
            self._next = ["No host was found. For any MCP host: agentbus install --print"]
        for line in self._next:
            self._out(line)

    def _code(self) -> int:
        wanted = {one["state"] for one in self.outcomes.values()}
        # `setup` looks for all hosts, unless it was told which.
        given = self._args.command != "setup" or self._args.host
        return int("failed" in wanted or ("not_here" in wanted and bool(given)))
