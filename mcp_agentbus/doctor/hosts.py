# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` looks at in the hosts: whether agentbus works there, what a hook costs.

>>> host(settings, "cursor")
Check(name='cursor', state='ok', said='not here', fix='')
"""

from __future__ import annotations

import json
import math
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import programs
from mcp_agentbus.core.hosts import CONNECTED
from mcp_agentbus.core.ids import PROBE
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.doctor.stored.mends import FIX
from mcp_agentbus.errors import AgentbusError, BadSetup
from mcp_agentbus.installers import assets
from mcp_agentbus.installers.registry import Installer, installer
from mcp_agentbus.installers.steps import Machine, Step, SwitchedOff

#: The hosts that are looked at.
HOSTS: Final = CONNECTED
#: A hook may cost so many times what a Python costs that does nothing.
HOOK_MAX_RATIO: Final = 3.0
_HOOK: Final = "hooks/agentbus_hook.py"
_BUSY: Final = "Try again when the machine is less busy."
_RUN_S: Final = 2.0
# Of so many runs in turn the fastest counts: the others were disturbed.
_RUNS: Final = 3


def host(
    settings: Settings, name: str, limit_s: float = math.inf, asked: str | None = None
) -> Check:
    """See that a host that is here starts agentbus and gets its tools.

    Args:
        settings: the user's.
        name: one of `HOSTS`.
        limit_s: after so many seconds no command of the host runs any more.
        asked: what it has said a moment ago, if it has been asked: that takes seconds.
    """
    machine = Machine(settings, ends_at=time.monotonic() + limit_s)
    try:
        connects = installer(name)
        about = connects.found(machine)
        if not about and machine.left_s:
            return Check(name, "ok", "not here", here=False)
        if not about:
            return Check(name, "unknown", "no answer in time", _BUSY)
        try:
            answers = connects.verify(machine) if asked is None else asked
        except SwitchedOff as error:
            return Check(name, "warning", f"{about}: {error.message}", error.hint, here=True)
        except AgentbusError as error:
            return replace(_refused(name, about, error, machine), here=True)
    except AgentbusError as error:
        return Check(name, "unknown", error.message, error.hint)
    return Check(name, "ok", f"{about}: {answers}" if answers else about, here=True)


def _refused(name: str, about: str, error: AgentbusError, machine: Machine) -> Check:
    """Return what it means that a host does not list our tools."""
    connect = f"agentbus install {name}"
    connected = _connected(installer(name), machine)
    if not machine.left_s:
        return Check(name, "unknown", f"{about}: no answer in time", _BUSY)
    if connected and (gone := _gone(installer(name), machine)):
        return _stale(Check(name, "wrong", f"{about}: starts {gone}, which is gone"), machine)
    if connected:
        again = "" if connect in error.hint else f" To connect it anew: {connect}"
        # Of a host that does not run `found` has said why already.
        said = about if error.message in about else f"{about}: {error.message}"
        return Check(name, "wrong", said, f"{error.hint}{again}")
    # That it was never connected is its user's choice, and nothing is broken.
    fix = f"To connect it: {connect} (--dry-run tells what that does)"
    return Check(name, "warning", f"{about}: not connected", fix)


def _gone(connects: Installer, machine: Machine) -> str:
    """Return what a host would start of agentbus and is not there; nothing if it cannot tell."""
    try:
        return connects.gone(machine)
    except AgentbusError:
        return ""


def _stale(check: Check, machine: Machine) -> Check:
    """Return the check of a host whose agentbus is gone, with what has it start this one."""
    connect = f"agentbus install {check.name}"
    if warnings := machine.warnings:  # it would be gone again
        return replace(check, fix=" ".join(warnings))
    what = f"have {check.name} start {machine.program_file}, as by {connect}"
    mend = Step(what, partial(_renewed, machine.settings, check.name))
    return replace(check, fix=f"{FIX} Or: {connect}", mend=mend)


def _renewed(settings: Settings, name: str) -> str:
    machine = Machine(settings)
    for step in installer(name).renewal(machine):
        step.do()
    return ""


def _connected(connects: Installer, machine: Machine) -> bool:
    """Tell whether there is anything of agentbus in a host."""
    try:
        # Its steps only; none is taken.
        return any(not step.clears for step in connects.uninstall(machine))
    except AgentbusError:
        return True


def hooks(settings: Settings) -> Check:
    """See that a hook costs a host no more than it may."""
    name = "hooks"
    try:
        file = assets.plugin_folder() / _HOOK
    except BadSetup as error:
        return Check(name, "unknown", error.message, error.hint)
    if not file.is_file():
        return Check(
            name,
            "unknown",
            f"{file} is not there",
            f"Install it anew: {programs.install_line('again')}",
        )
    bare = [sys.executable, "-I", "-c", "pass"]
    hook = [sys.executable, "-I", "-S", str(file), "claude-code", "SessionStart"]
    try:
        pairs = [(_took(bare, settings), _took(hook, settings)) for _ in range(_RUNS)]
    except subprocess.TimeoutExpired as error:
        what = "a hook" if error.cmd == hook else "a Python that does nothing"
        return Check(name, "unknown", f"{what} did not end within {_RUN_S:.0f} s", _BUSY)
    least, took = (min(times) for times in zip(*pairs, strict=True))
    cost = (
        f"a hook takes {took * 1000:.0f} ms, "
        f"{took / least:.1f} times as long as a Python that does nothing"
    )
    if took > least * HOOK_MAX_RATIO:
        fix = "If `agentbus doctor` says the same on an idle machine, please report it."
        return Check(name, "warning", f"{cost}; {HOOK_MAX_RATIO:.0f} times is the limit", fix)
    return Check(name, "ok", cost)


def _took(argv: Sequence[str], settings: Settings) -> float:
    """Return how many seconds a program takes that is given a session's start, of none that is."""
    # Cursor has Claude Code's hooks end at once, and maybe this is typed in its terminal.
    environ = {name: value for name, value in settings.environ.items() if name != "CURSOR_VERSION"}
    event = {"session_id": f"{PROBE}{secrets.token_hex(8)}", "source": "startup"}
    began = time.perf_counter()
    subprocess.run(
        argv,
        input=json.dumps(event).encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ,
        timeout=_RUN_S,
        check=False,
    )
    return time.perf_counter() - began
