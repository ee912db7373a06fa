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
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mcp_agentbus.config import Settings
    from mcp_agentbus.installers.steps import Machine, Step

_Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for it

#: The hosts with an installer of their own, and its module; the others take one line of theirs.
_MODULES: Final = {"claude-code": "claude_code", "cursor": "cursor", "openclaw": "openclaw"}
HOSTS: Final = (*_MODULES, "codex", "copilot", "gemini")


def add_install_commands(commands: _Commands[Any]) -> None:
    """Add `setup`, `install` and `uninstall` to the parser's commands."""
    setup = commands.add_parser(
        "setup",
        help="connect every host that is here, and keep a listener running",
        description="Start the server, connect the hosts that are found here, have systemd or "
        "launchd keep a listener, and look whether all of it works.",
    )
    setup.add_argument("--host", action="append", choices=sorted(HOSTS), help="only this one")
    setup.add_argument("--no-listener", action="store_true", help="leave the listener to you")
    setup.add_argument("--yes", action="store_true", help="do not ask whether to go on")
    install = commands.add_parser("install", help="connect a host, or print how any is connected")
    install.add_argument("host", nargs="*", metavar="HOST", help=", ".join(HOSTS))
    install.add_argument(
        "--print", action="store_true", dest="print_", help="print the entry for any MCP host"
    )
    uninstall = commands.add_parser("uninstall", help="take agentbus out of a host again")
    uninstall.add_argument("host", nargs="+", metavar="HOST", help=", ".join(HOSTS))
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

    work = _Work(args, Machine(settings), (lambda _: None) if args.json else out)
    if args.command == "setup":
        code = await asyncio.to_thread(work.setup)
    elif args.command == "install" and args.print_:
        from mcp_agentbus.installers import any_host

        out(any_host.printed(work.machine))
        return 0
    else:
        code = await asyncio.to_thread(work.hosts, args.host)
    if args.json:
        out(json.dumps({"hosts": work.outcomes, "done": work.done}))
    return code


class _Work:
    """Installs or uninstalls, and says what it does."""

    def __init__(
        self, args: argparse.Namespace, machine: Machine, out: Callable[[str], None]
    ) -> None:
        self.machine = machine
        self._args, self._out = args, out
        self._dry = bool(args.dry_run)
        #: What became of each host: connected, removed, not_here, planned or failed.
        self.outcomes: dict[str, dict[str, str]] = {}
        #: What was done, in order.
        self.done: list[str] = []

    def hosts(self, names: Sequence[str]) -> int:
        """Install or uninstall the named hosts; return the exit code."""
        from mcp_agentbus.errors import BadInput

        wrong = [name for name in names if name not in HOSTS]
        if wrong or not names:
            said = f"{wrong[0]!r} is no host." if wrong else "Which host?"
            raise BadInput(
                said,
                hint=f"Name {', '.join(HOSTS)}; for any other host see `agentbus install --print`.",
            )
        for name in names:
            self._host(name, given=True)
        return self._code()

    def setup(self) -> int:
        """Do all of it; return the exit code."""
        names = self._args.host or list(HOSTS)
        found = {name: _module(name).found(self.machine) for name in names}
        here = [name for name in names if found[name]]
        self._out("Found here: " + (", ".join(str(found[name]) for name in here) or "no host"))
        if not self._dry and not self._agreed():
            return 1
        self._server()
        for name in names:
            self._host(name, given=bool(self._args.host))
        if not self._args.no_listener:
            self._listener()
        if self._dry:
            self._out("Nothing was done. Run the same without --dry-run.")
            return self._code()
        well = self._doctor()
        self._last_words(here)
        return self._code() or int(not well)

    def _agreed(self) -> bool:
        from mcp_agentbus.errors import BadInput

        if self._args.yes:
            return True
        if self._args.json or not sys.stdin.isatty():
            raise BadInput(
                "Nobody is there to be asked.",
                hint="Look at `agentbus setup --dry-run`, then give --yes.",
            )
        self._out("See every step before with `agentbus setup --dry-run`.")
        return input("Go on? [Y/n] ").strip().lower() in {"", "y", "yes"}

    def _host(self, name: str, *, given: bool) -> None:
        """Install or uninstall one host."""
        from mcp_agentbus.errors import AgentbusError

        installer = _module(name)
        installs = self._args.command != "uninstall"
        about = installer.found(self.machine)
        if installs and not about:
            self._outcome(name, "not_here", "", shown=given)
            return
        self._out(f"{name}:")
        try:
            steps = (installer.install if installs else installer.uninstall)(self.machine)
            for said in self._take(steps):
                self._out(f"  {said}")
            if self._dry:
                self._outcome(name, "planned", "")
            elif installs:
                self._outcome(name, "connected", installer.verify(self.machine))
            else:
                self._outcome(name, "removed", "")
        except AgentbusError as error:
            self._outcome(name, "failed", f"{error.message} {error.hint}".strip())

    def _take(self, steps: Sequence[Step]) -> Iterator[str]:
        for step in steps:
            if self._dry:
                yield f"would {step.what}"
                continue
            said = step.do()
            self.done.append(step.what)
            yield f"{step.what}{': ' if said else ''}{said}"

    def _outcome(self, name: str, state: str, said: str, *, shown: bool = True) -> None:
        self.outcomes[name] = {"state": state, "said": said}
        words = {
            "connected": "connected, and asked",
            "removed": "removed",
            "not_here": "is not here",
            "failed": "NOT CONNECTED",
            "planned": "",
        }[state]
        if shown and words:
            self._out(f"  {name} {words}{': ' if said else ''}{said}")

    def _server(self) -> None:
        import asyncio

        from mcp_agentbus import embedded, topology
        from mcp_agentbus.bus import Bus

        async def with_streams() -> None:
            async with Bus.connect(settings) as bus:
                await topology.ensure_streams(bus)

        settings = self.machine.settings
        if settings.url:
            self._out(f"server: the shared one at {settings.url}")
        elif self._dry:
            self._out("server: would be started, if it does not run")
        else:
            server = embedded.ensure(settings)
            asyncio.run(with_streams())
            self._out(f"server: {server.how} at {server.url}")
            self.done.append("server")

    def _listener(self) -> None:
        """Have the service manager keep a listener, where there is one."""
        from mcp_agentbus.errors import BadSetup
        from mcp_agentbus.installers import launchd, systemd

        manager = launchd if sys.platform == "darwin" else systemd
        if self._dry:
            self._out("listener: would be kept running by systemd or launchd, if one is here")
            return
        try:
            said = manager.install(self.machine.settings)
            self.done += said
            self._out(f"listener: {'; '.join(said)}")
        except BadSetup as error:
            self._out(f"listener: not kept by a service manager ({error.message}) Sessions start")
            self._out("  one by themselves; to have one without them, run `agentbus listen`.")

    def _doctor(self) -> bool:
        """Look whether all of it works; tell what `agentbus doctor` tells."""
        import asyncio

        from mcp_agentbus import doctor

        asked = argparse.Namespace(json=False, fix=False, dry_run=False, self_test=False, wake=None)
        return asyncio.run(doctor.run(asked, self.machine.settings, self._out)) == 0

    def _last_words(self, here: Sequence[str]) -> None:
        if not here:
            self._out("No host was found. For any MCP host: agentbus install --print")
            return
        self._out("Next: restart your hosts' sessions, then ask one to call list_agents.")
        self._out("Whether a task comes through: agentbus doctor --self-test")

    def _code(self) -> int:
        wanted = {one["state"] for one in self.outcomes.values()}
        asked_for = "not_here" in wanted and self._args.command != "setup"
        return int("failed" in wanted or asked_for)


def _module(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"mcp_agentbus.installers.{_MODULES[name]}")
    from mcp_agentbus.installers import any_host

    return next(one for one in any_host.hosts() if one.name == name)
