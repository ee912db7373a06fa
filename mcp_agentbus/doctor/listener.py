# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` looks at in the listener: whether one runs, which, and whom it holds.

>>> checks(settings)
[Check(name='listener', state='ok', said='0.1.0, pid 4711, since 2026-11-21 10:00, ...')]
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from mcp_agentbus.config import inherited
from mcp_agentbus.config.rules import least_profile
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import notices
from mcp_agentbus.core.children.descriptors import mend
from mcp_agentbus.core.text import minute
from mcp_agentbus.doctor.check import Check, State
from mcp_agentbus.errors import AgentbusError, BadSetup, NoListener
from mcp_agentbus.installers import service
from mcp_agentbus.installers.steps import Machine, Step
from mcp_agentbus.listener import status
from mcp_agentbus.relay import local_socket, seat, starter
from mcp_agentbus.version import __version__

# Whoever tells a listener to end waits for that; one that starts needs about a second.
_STARTS_WITHIN_S: Final = 10.0
# What takes no connection for so long neither starts nor ends: a host that was asked meanwhile
# starts one, and ends it with the session.
_SETTLES_WITHIN_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.05
_STARTS_NONE: Final = "no session starts one here, by AGENTBUS_LISTENER"
# What a person can do about an agent that is held, by `notices.Reason`; the others pass by
# themselves.
_HELD: Final = {
    "limit_0": "Take the limit of 0 out of [wake] or [agents.{agent}] in config.toml",
    "backoff": "See agentbus agent wakes {agent}, then run agentbus agent wake {agent}, once its "
    "folder and host are in order",
    "gave_up": "See agentbus agent wakes {agent}, then run agentbus agent wake {agent}",
    "profile": "agentbus agent add {agent} --replace --wake {profile}",
    "mode": "Take permission_mode out of [agents.{agent}] in config.toml, or set one that its host "
    "has",
    "unknown_host": "agentbus agent add {agent} --host HOST --dir FOLDER",
}
# What a person can do where the bus lets the listener not look at an agent, or not hear of it.
_BLIND: Final = "Take out of config.toml what this login may not read, or have it granted."


def checks(settings: Settings) -> list[Check]:
    """See that a listener of this version runs, and that it can wake."""
    try:
        answer = _settled(settings)
    except NoListener as error:
        return [_none(settings, error)]
    try:
        agents, failures = answer.get("agents") or (), answer.get("failures") or ()
        lacks = [*_lacking(settings, answer), *_outbox(answer)]
        others = _of_other_versions(agents)
        return [_running(settings, answer), *lacks, *_failed(failures), *others, *_held(agents)]
    except (LookupError, TypeError, ValueError):
        wrong = "what runs there does not say how it stands; it is of another version"
        return [_replaced(settings, wrong)]


# What it says of parts that do not work: how bad that is, what it does then, what mends it.
_PARTS: Final[tuple[tuple[str, State, str, str], ...]] = (
    ("ledger", "wrong", "it wakes nobody", "Mend or move away {settings.ledger_file}."),
    ("config", "wrong", "goes on with the rules of before",
     "Correct config.toml; it is read again by itself."),
    ("archive", "warning", "keeps no history",
     "Move {settings.archive_file} away: it is made anew from what the bus keeps."),
    ("human", "warning", "cannot tell you what needs you", "Try: agentbus human --test"),
)  # fmt: skip


def _outbox(answer: Mapping[str, Any]) -> list[Check]:
    """Tell of what was sent and is not at the bus, and why, where something is."""
    outbox = answer.get("outbox") or {"waiting": 0}
    if outbox["waiting"] == 0:
        return []
    said = status.outbox_line(outbox)
    fix = "agentbus tasks --all --open names each, agentbus result TASK cancelled withdraws one"
    return [Check("outbox", "warning", said, fix)]


def _settled(settings: Settings) -> Mapping[str, Any]:
    """Ask the listener how it stands; one that just starts or ends is given the time for it.

    Raises:
        NoListener: there is none, it is deaf, or it does not answer.
    """
    give_up = time.monotonic() + _SETTLES_WITHIN_S
    while True:
        try:
            return local_socket.ask(settings, {"op": "status"})
        except NoListener as error:
            there = seat.seated(settings)
            settling = (
                there is not None and there.is_here and "does not answer" not in error.message
            )
            if not settling or time.monotonic() >= give_up:
                raise
        time.sleep(_LOOK_AGAIN_S)


def _running(settings: Settings, answer: Mapping[str, Any]) -> Check:
    """Check a listener that runs, by its answer about its standing."""
    by = f"kept by {service.manager().NAME}"
    by = by if starter.keeps(settings.environ) else f"not {by}"
    since = minute(answer["since"])
    seen = status.seen_from(settings, answer)
    who = f"{seen['state']}: {answer['version']}, pid {answer['pid']}, since {since}, {by}"
    if answer["version"] != __version__:
        wrong = f"{who}: another version than the {__version__} that is installed"
        return _replaced(settings, f"{wrong}, so sessions serve themselves")
    if seen["elsewhere"]:
        return Check("listener", "wrong", f"{who}: {seen['elsewhere']}", status.ELSEWHERE)
    if answer["bus"] != "ok":
        since = minute(answer["away_since"]) if answer.get("away_since") else "now"
        fix = "See `server` above." if settings.url else "Run `agentbus server start`."
        return Check("listener", "warning", f"{who}: no bus since {since}", fix)
    for part, grade, does, fix in _PARTS:
        if (says := answer[part]) != "ok":
            return Check("listener", grade, f"{who}: {does}. {says}", fix.format(settings=settings))
    manager = service.manager()
    program = manager.program(settings) if starter.keeps(settings.environ) else ""
    if program and not os.path.exists(program):  # noqa: PTH110
        # Nobody would see that before it ends. What else differs may be a person's own choice.
        wrong = f"{who}, whose service starts {program}: that is gone, and it will not come back"
        mend = _mend(settings, f"have {manager.NAME} keep the listener of this agentbus")
        return Check("listener", "warning", wrong, "Run `agentbus listen --install`.", mend)
    woken = _woken(settings)
    lasts = "; after a restart of this machine nothing wakes {} until a session starts one"
    note = lasts.format(", ".join(woken)) if woken and starter.is_started(settings.environ) else ""
    return Check("listener", "ok", f"{who}{note}")


def _woken(settings: Settings) -> list[str]:
    """Return the agents that a listener is to start."""
    return sorted(name for name, rules in settings.rules.items() if rules.profile != "hold")


def _replaced(settings: Settings, wrong: str) -> Check:
    """Say that the listener must give way to one of this version, and how."""
    fix = (
        _again(settings) if starter.keeps(settings.environ) else "Run `agentbus listen --replace`."
    )
    mend = _mend(settings, "end that listener and start one of this version")
    return Check("listener", "wrong", wrong, fix, mend)


def _none(settings: Settings, error: NoListener) -> Check:
    if status.absent(error) == "silent":
        there = seat.seated(settings)
        mend = _mend(settings, "end that listener and start another one")
        mends = mend if there is None or there.is_here else None
        return Check("listener", "wrong", f"silent: {error.message}", error.hint, mends)
    if starter.keeps(settings.environ):
        manager, fix = service.manager(), _again(settings)
        wrong = f"stopped, although {manager.NAME} should keep it"
        mend = _mend(settings, f"have {manager.NAME} start it")
        fix += f"; if it ends again, see {manager.LOG}" if manager.LOG else ""
        return Check("listener", "wrong", wrong, fix, mend)
    woken = _woken(settings)
    is_started = starter.is_started(settings.environ)
    if not woken:
        then = "the first session that lives starts one" if is_started else _STARTS_NONE
        return Check("listener", "ok", f"stopped; {then}")
    until = " until a session starts one" if is_started else f"; {_STARTS_NONE}"
    return Check(
        "listener",
        "warning",
        f"stopped: nothing wakes {', '.join(woken)}{until}",
        error.hint,
        _mend(settings, "start a listener"),
    )


def _mend(settings: Settings, what: str) -> Step | None:
    """Return a step that renews the listener; None where nothing here would start one again."""
    return Step(what, partial(_renew, settings)) if _can_renew(settings) else None


def _can_renew(settings: Settings) -> bool:
    return starter.keeps(settings.environ) or starter.is_started(settings.environ)


def _again(settings: Settings) -> str:
    """Say how to start a listener anew that a service manager keeps."""
    manager = service.manager()
    if manager.is_current(settings):
        return f"Run: {' '.join(manager.restart())}"
    # Such as one that names a Python which was moved or removed: it would only fail again.
    return f"Run `agentbus listen --install`, as {manager.NAME} has another one than that writes"


def with_login(settings: Settings, host: str) -> str:
    """Have the listener have the variables by which a host logs in here; return what it lacked.

    It is replaced for that; but one is left as it is that a session would not have started.

    Raises:
        NoListener: there is none, or it does not answer.
        BadSetup: none is there after that.
    """
    if not starter.is_started(settings.environ):
        return ""
    lacked = ", ".join(_lacked(settings, host, local_socket.ask(settings, {"op": "status"})))
    if lacked:
        _renew(settings)
    return lacked


def moved(settings: Settings) -> str:
    """Have the listener, if one is to run, be one of the bus that the settings name; say which.

    Raises:
        BadSetup: none is there after that.
    """
    with suppress(NoListener):
        local_socket.ask(settings, {"op": "status"})
        return _renew(settings)
    return _renew(settings) if starter.keeps(settings.environ) else ""


def _lacked(settings: Settings, host: str, answer: Mapping[str, Any]) -> list[str]:
    """Return the variables of a host's login that are here, and that what a listener starts lacks.

    What the host's own settings give to each session that has, whatever it is started with.
    """
    logins = answer.get("logins")
    there = logins if isinstance(logins, list) else inherited.logins(settings.environ)
    has = {*there, *inherited.of_settings(host, settings.environ)}
    return [name for name in inherited.logins(settings.environ, host) if name not in has]


def _lacking(settings: Settings, answer: Mapping[str, Any]) -> list[Check]:
    """Say of which agents the host cannot log in by what it has here, and how it can."""
    renewed = starter.is_started(settings.environ)
    fix = "Log it in by its own files, or run `agentbus doctor --fix` here."
    if not renewed:
        fix = (
            "Log it in by its own files, or set that where the listener is started: "
            "`agentbus listen --install` takes over what is no secret."
        )
    checks: list[Check] = []
    for name, rules in sorted(settings.rules.items()):
        lacked = _lacked(settings, rules.host, answer)
        if rules.profile == "hold" or not lacked:
            continue
        wrong = (
            f"the listener lacks {', '.join(lacked)}, by which {rules.host} reaches its model here"
        )
        mend = Step("start a listener that has what is set here", partial(_renew, settings))
        # Once for all: what is set here is the same for each.
        mends = mend if renewed and not checks else None
        checks.append(Check(f"login of {name}", "warning", wrong, fix, mends))
    return checks


def _failed(failures: Any) -> list[Check]:
    """Say what has failed in it."""
    if not failures:
        return []
    said = f"failed inside: {', '.join(failures)}"
    return [Check("listener's work", "warning", said, " ".join({*map(mend, failures)}))]


def _of_other_versions(agents: Any) -> list[Check]:
    """Say which sessions go on with what was installed when they were started."""
    fix = (
        "Start them anew: in Claude Code `/mcp` reconnects; a worker is ended and started; "
        "elsewhere the host is."
    )
    return [
        Check(
            f"sessions of {agent['agent']}",
            "warning",
            f"not all are of the {__version__} that is installed: {others}",
            fix,
        )
        for agent in agents
        if (others := status.others_said(agent))
    ]


def _held(agents: Any) -> list[Check]:
    """Say which agents are held, or not looked at as they should be, and why."""
    held = []
    for agent in agents:
        if says := agent.get("says"):
            held.append(Check(f"desk of {agent['agent']}", "warning", says, _BLIND))
        if (reason := agent["reason"]) and reason != notices.Reason.WORKER:
            until = f" until {minute(agent['until'])}" if agent["until"] else ""
            profile = least_profile(agent.get("host") or "")
            fix = _HELD.get(reason, "").format(agent=agent["agent"], profile=profile)
            why = f"held{until}: {notices.why_held(reason, agent.get('not_started') or '')}"
            held.append(Check(f"wake of {agent['agent']}", "warning", why, fix))
    return held


def _renew(settings: Settings) -> str:
    """End the listener that runs, if one does, and start one; return what is to be said.

    Raises:
        BadSetup: none is there after that; or nothing here would start one, so none was ended.
    """
    if not _can_renew(settings):
        raise BadSetup(
            f"{_STARTS_NONE[0].upper()}{_STARTS_NONE[1:]}, and the one that runs was left alone.",
            hint="Have whoever started it do so again, or run `agentbus listen --replace`.",
        )
    machine, manager = Machine(settings), service.manager()
    if starter.keeps(settings.environ) and not manager.is_current(settings):
        manager.install(settings)
    elif starter.keeps(settings.environ):
        machine.run(manager.restart())
    else:
        with suppress(AgentbusError):  # there is none to stop
            machine.run([*machine.agentbus, "listen", "--stop"])
        starter.start_listener(settings)
    give_up = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < give_up:
        with suppress(AgentbusError):
            answer = local_socket.ask(settings, {"op": "status"})
            if answer.get("version") == __version__:
                return f"listener {__version__} runs, pid {answer.get('pid')}"
        time.sleep(_LOOK_AGAIN_S)
    raise BadSetup(
        f"No listener of {__version__} is there after {_STARTS_WITHIN_S:.0f} s.",
        hint="Run `agentbus listen` in a terminal to see why.",
    )
