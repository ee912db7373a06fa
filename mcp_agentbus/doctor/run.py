# SPDX-License-Identifier: Apache-2.0
"""`agentbus doctor`: look at all that agentbus needs here, and say how to mend what is wrong.

    $ agentbus doctor
    ok  versions     agentbus 0.1.0, Python 3.12.3, mcp 2.3.0, nats-py 2.16.0
    --  server       not running; the first command or session that needs it starts it
                     Run `agentbus server start`.

Each check has a time limit, and one that fails is not known to be good. Nothing is changed unless
`--fix` is given; then what is agentbus's own alone. Of a host that is its entry, and what goes
with it, where that starts an agentbus which is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from mcp_agentbus.config.settings import Settings, load_settings, settings_or_defaults
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.core.framing import spelled
from mcp_agentbus.doctor import (
    hosts,
    listener,
    machine,
    redaction,
    report,
    server,
    strangers,
    unreadable,
)
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.doctor.self_test import send_round
from mcp_agentbus.doctor.shared import account
from mcp_agentbus.doctor.stored import claims, consumers, orphans, registrations
from mcp_agentbus.errors import AgentbusError, BadInput
from mcp_agentbus.installers.steps import Step

# The configuration is read first, the hooks are run last, and all between goes side by side: 80 s
# at most.
_LIMIT_S: Final = 10.0
# A host starts node, and that starts us: OpenClaw takes 8 s of a fast processor for that.
_HOST_LIMIT_S: Final = 62.0
# Its commands end before nobody waits for them any more.
_HOST_COMMANDS_S: Final = 60.0
_HOOKS_LIMIT_S: Final = 8.0
# After a mended configuration more can be looked at, and so on; it ends by itself.
_ROUNDS: Final = 3
# What is told of a check as JSON.
_FIELDS: Final = ("name", "state", "said", "fix")


async def run(
    given: Settings,
    out: report.Out,
    *,
    as_json: bool = False,
    fix: bool = False,
    dry_run: bool = False,
    self_test: bool = False,
    faults_only: bool = False,
    wake: str | None = None,
    asked: Mapping[str, str] | None = None,
) -> int:
    """Do what `agentbus doctor` was asked for; return the exit code.

    It is 0 if nothing is wrong or unknown, or the self-test came through, else 1.

    Args:
        given: of `settings_or_defaults`.
        out: takes what is to be printed.
        as_json: print one object.
        fix: mend what can be mended safely.
        dry_run: with `fix`, only say what.
        self_test: send a task through the bus and back instead.
        faults_only: print a line of what is not well, and the last.
        wake: with `self_test`, the agent that is to be started for it.
        asked: what hosts have said a moment ago, by their names; they are not asked again.

    Raises:
        BadInput: the arguments do not go together.
        BadSetup: config.toml cannot be read, so a self-test would test another bus.
    """
    _check_options(fix=fix, dry_run=dry_run, self_test=self_test, wake=wake)
    show = redaction.veiled(given, out)
    if self_test:
        given = load_settings(given.environ)  # not the defaults: they lead to another bus
        return await send_round(
            given, wake=wake, as_json=as_json, out=show, faults_only=faults_only
        )
    checks = await examine(given, asked or {})
    done: list[dict[str, str]] = []
    if fix:
        checks, done = await _mended(given, checks, dry_run=dry_run)
    if as_json:
        data = [{field: getattr(check, field) for field in _FIELDS} for check in checks]
        steps: dict[str, object] = {"steps": done, "dry_run": dry_run} if fix else {}
        show(spelled({"ok": not _code(checks), "checks": data, **steps}))
    else:
        rows = report.lines(checks, fixing=fix, faults_only=faults_only)
        for line in (*(step["text"] for step in done), *rows):
            show(line)
    return _code(checks)


def _check_options(*, fix: bool, dry_run: bool, self_test: bool, wake: str | None) -> None:
    if self_test and fix:
        raise BadInput("Either --fix or --self-test.", hint="Run --fix first.")
    if dry_run and not fix:
        raise BadInput("--dry-run is for --fix.", hint="Without --fix nothing is changed anyway.")
    if wake and not self_test:
        raise BadInput("--wake is for --self-test.", hint="Add --self-test.")


def _code(checks: Iterable[Check]) -> int:
    return int(any(check.state in {"wrong", "unknown"} for check in checks))


async def examine(given: Settings, asked: Mapping[str, str]) -> list[Check]:
    """Make all checks, side by side; return them in the order in which they are to be mended.

    None fails: what goes wrong in one, or takes too long, is its state `unknown`.
    """
    read = await _limited("config", _LIMIT_S, _single(machine.configuration, given))
    usable = given if read[0].state == "ok" else None
    each_host = (
        _limited(
            name,
            _HOST_LIMIT_S,
            _single(hosts.host, given, name, _HOST_COMMANDS_S, asked.get(name)),
        )
        for name in hosts.HOSTS
    )
    versions, program, *others = await asyncio.gather(
        _limited("versions", _LIMIT_S, _single(machine.versions)),
        _limited("nats-server", _LIMIT_S, _single(machine.nats_server, given)),
        _limited("files", _LIMIT_S, in_thread(machine.files, given)),
        _needs(usable, "server", server.checks),
        _needs(usable, "strangers", strangers.checks),
        _needs(usable, "messages", unreadable.checks),
        _needs(usable, "consumers", consumers.checks),
        _needs(usable, "orphans", orphans.checks),
        _needs(usable, "roster", registrations.checks),
        _needs(usable, "claims", claims.checks),
        _limited("listener", _LIMIT_S, in_thread(listener.checks, given)),
        _needs(usable, "name", machine.name),
        _needs(usable, "archive", lambda loaded: in_thread(machine.archive, loaded)),
        _needs(usable, "human", lambda loaded: in_thread(machine.human, loaded)),
        _needs(usable, "agents", lambda loaded: in_thread(machine.agents, loaded)),
        _needs(usable, "names", account.agents),
        *each_host,
    )
    # Alone: it compares times.
    cost = await _limited("hooks", _HOOKS_LIMIT_S, _single(hosts.hooks, given))
    return [check for few in (versions, program, read, *others, cost) for check in few]


async def _needs(
    usable: Settings | None, name: str, look: Callable[[Settings], Awaitable[list[Check]]]
) -> list[Check]:
    """Make a check that would look at something else without the user's configuration."""
    if usable is None:
        fix = "Mend what is said of config first."
        return [Check(name, "unknown", "not looked at, as the configuration cannot be read", fix)]
    return await _limited(name, _LIMIT_S, look(usable))


async def _limited(name: str, limit_s: float, look: Awaitable[list[Check]]) -> list[Check]:
    """Return the checks of one look; that they are unknown if it failed or took too long."""
    try:
        async with asyncio.timeout(limit_s):
            return [replace(check, said=_of_look(check.said)) for check in await look]
    except TimeoutError:
        why = f"no answer within {limit_s:.0f} s"
        return [Check(name, "unknown", why, "Try again when the machine is less busy.")]
    except AgentbusError as error:
        return [Check(name, "unknown", _of_look(error.message), error.hint)]
    # A check's fault must not hide what others found.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        # Its kind alone: an exception's message may hold a secret.
        why = f"the check failed: {type(error).__name__}"
        if isinstance(error, OSError) and error.strerror:
            why += f" ({error.strerror})"
        return [Check(name, "unknown", why)]


def _of_look(said: str) -> str:
    """Return what went wrong without that nothing was stored by it: nothing was to be."""
    said = said.replace("Nothing was stored, and no token was sent.", "No token was sent.")
    return said.replace(" Nothing was stored.", "").replace("Nothing was stored. ", "")


async def _single(look: Callable[..., Check], *given: Any) -> list[Check]:
    """Run a look aside that makes one check."""
    return [await in_thread(look, *given)]


async def _mended(
    given: Settings, checks: list[Check], *, dry_run: bool
) -> tuple[list[Check], list[dict[str, str]]]:
    """Mend what can be mended safely; return the checks after that, and what was done."""
    done: list[dict[str, str]] = []
    for _ in range(_ROUNDS):
        tried = {step["step"] for step in done}
        steps = {check.mend.what: check.mend for check in checks if check.mend}
        left = [step for what, step in steps.items() if what not in tried]
        if dry_run:
            done = [_outcome(step, "would", "would") for step in left]
        if dry_run or not left:
            break
        done += [await _taken(step) for step in left]
        given = await in_thread(settings_or_defaults, given.environ)
        checks = await examine(given, {})  # what was mended may be what they said
    return checks, done or [
        {"step": "", "state": "none", "text": "nothing that --fix mends is to be mended"}
    ]


async def _taken(step: Step) -> dict[str, str]:
    try:
        remark = await in_thread(step.do)
    except AgentbusError as error:
        return _outcome(step, "failed", "not done", f". {error.message} {error.hint}")
    return _outcome(step, "done", "done", f" ({remark})" if remark else "")


def _outcome(step: Step, state: str, word: str, more: str = "") -> dict[str, str]:
    return {"step": step.what, "state": state, "text": f"{word}: {step.what}{more}"}
