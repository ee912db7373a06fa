# SPDX-License-Identifier: Apache-2.0
"""`agentbus setup`, `install` and `uninstall`: connect the hosts that are here, and undo that.

    $ agentbus setup --dry-run
    Claude Code 2.1.329, /usr/bin/claude
      would run: claude plugin marketplace add ...

What is about to be done can be told before (`--dry-run`), and what is said to work was asked for:
each host is made to start its server and to list its tools.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Final, Literal

from mcp_agentbus.cli.output import asked, beforehand
from mcp_agentbus.cli.servers.remains import stays, stays_as_data
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import hosts
from mcp_agentbus.core.feather.printer import say, tell
from mcp_agentbus.core.hosts import CONNECTED, WITH_PLUGIN
from mcp_agentbus.core.ids import agent_id
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import AgentbusError, BadInput, BadSetup
from mcp_agentbus.installers import service
from mcp_agentbus.installers._parts import allowed
from mcp_agentbus.installers.registry import installer, with_plugin
from mcp_agentbus.installers.steps import Machine, Step, SwitchedOff

#: What became of a host, and which word of its user's screen says so.
Outcome = Literal["connected", "removed", "nothing", "not_here", "planned", "disabled", "failed"]
# What a step says stands beside it if it is no longer, else below it.
_BESIDE_MAX_CHARS: Final = 40


def run(args: argparse.Namespace) -> int:
    """Do what was typed; return the exit code, which is 1 if a host is not connected after all.

    Raises:
        AgentbusError: it was refused before anything was done.
    """
    machine = Machine(load_settings())
    if args.command != "uninstall" and args.allow_tools is not None:
        allowed.chosen(args.allow_tools)
    if args.command == "install":
        _check_options(args)
        if args.print_:
            from mcp_agentbus.installers import any_host

            for line in machine.warnings:  # apart, as the JSON is copied as it is
                print(line, file=sys.stderr)
            say(any_host.printed(machine, args.agent))
            return 0
    return asyncio.run(_carried_out(_Work(args, machine)))


async def _carried_out(work: _Work) -> int:
    code = await (work.setup() if work.args.command == "setup" else work.named_hosts())
    if work.args.json:
        say(json.dumps(work.data()))
    return code


def _check_options(args: argparse.Namespace) -> None:
    """See that the options of `agentbus install` go with its hosts.

    Raises:
        BadInput: they do not.
    """
    without = [name for name in args.host if name not in WITH_PLUGIN]
    if args.no_plugin and (without or not args.host):
        plugged = " or ".join(WITH_PLUGIN)
        right = f"install {' '.join(without)}" if without else f"install {plugged} --no-plugin"
        raise BadInput(
            f"--no-plugin is for {plugged} alone: no other host gets a plugin.",
            hint=f"Run `agentbus {right}`.",
        )
    if args.allow_tools is not None and (without or not args.host or args.no_plugin):
        raise BadInput(
            f"--allow-tools is for the plugin, and so for {' or '.join(WITH_PLUGIN)} alone.",
            hint="Leave it out; what other hosts ask is said in their own settings.",
        )
    if args.agent is None:
        return
    agent_id(args.agent)
    if len(args.host) > 1:
        raise BadInput(
            "One --agent for several hosts: they would share one inbox.",
            hint="Run the command once for each host, with an id of its own.",
        )


class _Work:
    """One run of these commands: what it does, in order, and what it has to tell of that.

    Whatever waits for a host's program runs in a thread, one after the other.
    """

    def __init__(self, args: argparse.Namespace, machine: Machine) -> None:
        self.args = args
        self._machine = machine
        self._say: Callable[[str], None] = (lambda _: None) if args.json else tell
        self._dry = bool(args.dry_run)
        # Of a dry run: that its user would be asked something before a host's steps.
        self._questions: list[Step] = []
        self._removes = args.command == "uninstall"
        # By the host's name.
        self._outcomes: dict[str, dict[str, str]] = {}
        # What would be done or was done, in order.
        self._planned: list[str] = []
        self._done: list[str] = []
        # What hosts said when they were asked for their tools, by their names.
        self._asked: dict[str, str] = {}
        # Of `setup`: what doctor says is not well, and what its user is to do next.
        self._checks: list[dict[str, str]] = []
        self._next: list[str] = []
        # What speaks against setting up anything from here.
        self._warnings = [] if self._removes else machine.warnings
        for line in self._warnings:
            self._say(line)

    def data(self) -> dict[str, Any]:
        """Return what --json prints."""
        data: dict[str, Any] = {"hosts": self._outcomes, "done": self._done}
        if self._warnings:
            data["warnings"] = self._warnings
        if self._dry:
            data["planned"] = self._planned
        if self._removes:
            data["stays"] = stays_as_data(self._machine.settings)
        if self.args.command == "setup":
            data |= {"checks": self._checks, "next": self._next}
        return data

    async def named_hosts(self) -> int:
        """Install or uninstall the hosts that were typed; return the exit code.

        Raises:
            BadInput: one is none, or none was named.
        """
        names = self.args.host
        wrong = [name for name in names if name not in CONNECTED]
        if wrong or not names:
            raise BadInput(
                f"{wrong[0]!r} is no host." if wrong else "Which host?",
                hint=f"Name {', '.join(CONNECTED)}; "
                "for any other host see `agentbus install --print`.",
            )
        self._looks()
        for name in names:
            here = self._removes or await self._found(name) is not None
            await self._host(name, here=here, given=True)
        for line in stays(self._machine.settings) if self._removes else ():
            self._say(line)
        return self._code()

    async def setup(self) -> int:
        """Do all of it; return the exit code."""
        names = self.args.host or list(CONNECTED)
        self._looks()
        titles = {name: await self._found(name) for name in names}
        here = [name for name in names if titles[name]]
        with nullcontext() if self._dry else beforehand():
            self._say("Found here:" if here else "Found here: no host")
            for name in here:
                self._say(f"  {titles[name]}")
            if not self._dry and not await asyncio.to_thread(self._agreed):
                return 1
        await self._server()
        for name in names:
            await self._host(name, here=name in here, given=bool(self.args.host))
        if not self.args.no_listener:
            await self._listener()
        if self._dry:
            if not here:
                self._last_words(here, well=True)
            self._say("Nothing was done. Run the same without --dry-run.")
            return self._code()
        well = await self._doctor()
        self._last_words(here, well=well)
        return self._code() or int(not well)

    def _looks(self) -> None:
        """Tell who looks at a screen that hosts are being asked: one that hangs takes a while."""
        if not self._removes and sys.stderr and sys.stderr.isatty():
            print("Looking for hosts...", file=sys.stderr)

    async def _found(self, name: str) -> str | None:
        """Return one line about a host; None if it is not here."""
        return await asyncio.to_thread(installer(name).found, self._machine)

    def _agreed(self) -> bool:
        """Ask whether to go on; raises BadInput if nobody is there to be asked."""
        if self.args.yes:
            return True
        if not self._has_terminal():
            raise BadInput(
                "Nobody is there to be asked.",
                hint="Look at `agentbus setup --dry-run`, then give --yes.",
            )
        self._say("See every step before with `agentbus setup --dry-run`.")
        try:
            answer = asked("Go on? [Y/n]")
        except EOFError:  # Ctrl-D
            answer = "no"
            self._say("")
        if answer in {"", "y", "yes"}:
            return True
        self._say("Nothing was done.")
        return False

    async def _host(self, name: str, *, here: bool, given: bool) -> None:
        """Install or uninstall one host; only say that it is not here, if it was `given` by name.

        Raises:
            BadInput: it cannot be done as it was asked for.
        """
        if not here:
            title = hosts.named(name).title
            todo = f"Install {title}, or put its program on PATH, then run the same again."
            self._outcome(name, "not_here", todo if given else "", shown=given)
            return
        host = installer(name)
        try:
            steps = await asyncio.to_thread(self._steps, name)
            self._say(f"{name}:")
            for step in steps:
                await self._take(step)
            if self._removes and not steps:
                self._outcome(name, "nothing")
            elif self._dry:
                self._outcome(name, "planned")
            elif self._removes:
                self._outcome(name, "removed")
            else:
                answers = await asyncio.to_thread(host.verify, self._machine)
                self._asked[name] = answers
                self._outcome(name, "connected", answers)
        except BadInput:
            raise
        except SwitchedOff as error:  # its user's choice
            self._outcome(name, "disabled", f"{error.message} {error.hint}")
        except AgentbusError as error:
            self._outcome(name, "failed", f"{error.message} {error.hint}".strip())

    def _steps(self, name: str) -> list[Step]:
        host = installer(name)
        if self._removes:
            return host.uninstall(self._machine)
        self._questions.clear()
        steps = host.install(self._machine, **self._options(name))
        return [*self._questions, *steps]

    def _options(self, name: str) -> dict[str, Any]:
        """Return what was typed besides the host; `setup` leaves the agent to each installer."""
        fallback = self.args.command == "install" and self.args.no_plugin
        options: dict[str, Any] = {"fallback": True} if fallback else {}
        if self.args.command == "install":
            options["agent"] = self.args.agent
        if name in WITH_PLUGIN:
            allow_tools = self._allow_tools(name, asks=not fallback)
            options |= {} if allow_tools is None else {"allow_tools": allow_tools}
        return options

    def _allow_tools(self, name: str, *, asks: bool) -> Sequence[str] | None:
        """Return the tools that may run without asking; None if that stays as it is."""
        if self.args.allow_tools is not None:
            return allowed.chosen(self.args.allow_tools)
        if not asks or with_plugin(name).allowed_tools(self._machine) is not None:
            return None
        # Without a terminal `setup` does nothing without --yes, so that is what its plan is of.
        is_plan_of_yes = self._dry and self.args.command == "setup" and not self._has_terminal()
        if self.args.yes or is_plan_of_yes:
            return allowed.USUAL
        if not self._has_terminal():
            return None
        if self._dry:
            self._questions.append(Step("ask which tools may run without asking", str))
            return None
        return _asked_which(hosts.named(name).title, self._say)

    def _has_terminal(self) -> bool:
        """Tell whether somebody is there to be asked."""
        # Python has None for a closed one.
        return not self.args.json and bool(sys.stdin and sys.stdin.isatty())

    async def _take(self, step: Step) -> None:
        """Take one step and say what it was; only say it, if nothing is to be done."""
        if self._dry:
            self._planned.append(step.what)
            self._say(f"  would {step.what}")
            return
        remark = await asyncio.to_thread(step.do)
        self._done.append(step.what)
        if len(remark) > _BESIDE_MAX_CHARS:
            self._say(f"  {step.what}")
            self._say(f"    {remark}")
        else:
            self._say(f"  {step.what}{': ' if remark else ''}{remark}")

    def _outcome(self, name: str, state: Outcome, said: str = "", *, shown: bool = True) -> None:
        self._outcomes[name] = {"state": state, "said": said}
        words = {
            "connected": f"{name} connected, and asked",
            "removed": f"{name} removed",
            "nothing": "nothing of agentbus is there",
            "not_here": f"{name} is not here",
            "failed": f"{name} NOT {'REMOVED' if self._removes else 'CONNECTED'}",
            "disabled": f"{name} is there, and not all of it is on",
            "planned": "",
        }[state]
        if shown and words:
            self._say(f"  {words}{': ' if said else ''}{said}")

    async def _server(self) -> None:
        settings = self._machine.settings
        if settings.url:
            self._say(f"server: the shared one at {settings.url}")
        elif self._dry:
            self._planned.append("start the server, if it does not run")
            self._say("server: would be started, if it does not run")
        else:
            from mcp_agentbus.store import status

            server = await status.start(settings)
            self._say(f"server: {server.how} at {server.url}")
            self._done.append("server")

    async def _listener(self) -> None:
        """Have the service manager keep a listener, where there is one."""
        manager = service.manager()
        do = manager.plan if self._dry else manager.install
        try:
            steps = await asyncio.to_thread(do, self._machine.settings)
        except BadSetup as error:
            self._say(f"listener: not kept by a service manager ({error.message}). Sessions start")
            self._say("  one by themselves; to have one without them, run `agentbus listen`.")
            return
        (self._planned if self._dry else self._done).extend(steps)
        would = "would " if self._dry else ""
        self._say(f"listener: {would}{'; '.join(steps)}")

    async def _doctor(self) -> bool:
        """Look whether all of it works; tell what `agentbus doctor` tells."""
        from mcp_agentbus.doctor.run import run

        if not self.args.json:
            return await run(self._machine.settings, self._say, asked=self._asked) == 0
        printed: list[str] = []
        code = await run(self._machine.settings, printed.append, as_json=True, asked=self._asked)
        checks = from_json("".join(printed))["checks"]
        self._checks = [check for check in checks if check["state"] != "ok"]
        return code == 0

    def _last_words(self, here: Sequence[str], *, well: bool) -> None:
        self._next = [
            "Next: restart your hosts' sessions, then have one list the agents on agentbus.",
            "Whether a task comes through: agentbus doctor --self-test",
        ]
        if not here:
            self._next = ["No host was found. For any MCP host: agentbus install --print"]
        not_well = [f"{name} is not connected" for name in self._failed()]
        not_well += [] if well else ["doctor found what is wrong, or could not look"]
        if not_well:
            why = f"NOT ALL IS WELL: {'; '.join(not_well)}."
            self._next.insert(0, f"{why} Do what is said of it, then run the same again.")
        for line in self._next:
            self._say(line)

    def _code(self) -> int:
        return int(bool(self._failed()))

    def _failed(self) -> list[str]:
        """Return the hosts of which what was asked for is not done."""
        # `setup` looks for all hosts, unless it was told which.
        given = self.args.command != "setup" or self.args.host
        fails = {"failed", "not_here"} if given else {"failed"}
        return [name for name, outcome in self._outcomes.items() if outcome["state"] in fails]


def _asked_which(title: str, say_line: Callable[[str], None]) -> Sequence[str]:
    """Ask which of our tools a host may call without asking; return them. No answer is none."""
    say_line(f"  {title} asks you before it calls a tool. Which may it call without asking?")
    say_line(f"    Enter: {', '.join(allowed.USUAL)}, not send_task")
    while True:
        try:
            words = input("    Or names with commas, all, none: ").strip()
        except EOFError:  # Ctrl-D
            say_line("")
            return ()
        try:
            return allowed.chosen(words) if words else allowed.USUAL
        except BadInput as error:
            say_line(f"    {error.message} {error.hint}")
