# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` looks at in the hosts: whether agentbus works there, what a hook costs.

>>> host(settings, "cursor", "cursor")
Check(name='cursor', state='ok', said='not here')
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from mcp_agentbus import assets
from mcp_agentbus.checks import Check, State
from mcp_agentbus.config import Settings
from mcp_agentbus.errors import AgentbusError, BadSetup
from mcp_agentbus.installers.steps import Machine

#: The hosts with an installer of their own, and its module.
HOSTS: Final = {"claude-code": "claude_code", "cursor": "cursor", "openclaw": "openclaw"}
#: A hook may cost so many times what a Python costs that does nothing.
HOOK_MAX_RATIO: Final = 3.0
_HOOK: Final = "hooks/agentbus_hook.py"
_AGAIN: Final = "Install it anew: pip install --force-reinstall mcp-agentbus"
_RUN_S: Final = 2.0
# Of so many runs in turn the fastest counts: the others were disturbed.
_RUNS: Final = 3


def host(settings: Settings, name: str, module: str) -> Check:
    """See that a host that is here starts agentbus and gets its tools."""
    try:
        installer: Any = import_module(f"mcp_agentbus.installers.{module}")
    except ModuleNotFoundError as error:
        if error.name != f"mcp_agentbus.installers.{module}":
            raise
        return Check(name, "unknown", "this agentbus has no installer for it")
    machine = Machine(settings)
    try:
        about = installer.found(machine)
        if not about:
            return Check(name, "ok", "not here")
        try:
            said = str(installer.verify(machine))
        except AgentbusError as error:
            text = f"{about}: {error.message}"
            connect = f"agentbus install {name} (--dry-run tells what that does)"
            # A host that was never connected is its user's choice, and nothing is broken.
            state: State = "wrong" if _connected(installer, machine) else "warning"
            return Check(name, state, text, f"{error.hint} To connect it: {connect}")
    except AgentbusError as error:
        return Check(name, "unknown", error.message, error.hint)
    return Check(name, "ok", f"{about}: {said}" if said else about)


def _connected(installer: Any, machine: Machine) -> bool:
    """Tell whether there is anything of agentbus in a host."""
    if connected := getattr(installer, "connected", None):
        return bool(connected(machine))
    try:
        return bool(installer.uninstall(machine))  # its steps only; none is taken
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
        return Check(name, "unknown", f"{file} is not there", _AGAIN)
    bare, hook = [sys.executable, "-I", "-c", "pass"], [sys.executable, "-I", str(file)]
    pairs = [(_took(bare, settings), _took(hook, settings)) for _ in range(_RUNS)]
    least, took = (min(times) for times in zip(*pairs, strict=True))
    said = f"a hook takes {took / least:.1f} times as long as a Python that does nothing"
    if took > least * HOOK_MAX_RATIO:
        fix = "If `agentbus doctor` says the same on an idle machine, please report it."
        return Check(name, "warning", f"{said}; {HOOK_MAX_RATIO:.0f} times is the limit", fix)
    return Check(name, "ok", said)


def _took(argv: Sequence[str], settings: Settings) -> float:
    """Return how many seconds a program takes that is given an event of no host."""
    began = time.perf_counter()
    subprocess.run(
        argv,
        input=b"{}",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(settings.environ),
        timeout=_RUN_S,
        check=False,
    )
    return time.perf_counter() - began
