# SPDX-License-Identifier: Apache-2.0
"""How an agent that is set up on this machine may be woken, as its user is told.

    >>> row(data(settings.rules["coder"]))
    'coder  claude-code  /home/you/shop  wake work  quiet 22:00-07:00'

Pure but for one question: which agent a session of its folder is, the folder's own file says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mcp_agentbus.config import identity
from mcp_agentbus.config.rules import MEANS, Rules
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import hosts
from mcp_agentbus.core.ids import ANY_SENDER
from mcp_agentbus.core.notices import takes
from mcp_agentbus.listener import status


def added(rules: Rules, settings: Settings, then: str) -> str:
    """Say what was written, who may wake it with which permissions, and what comes next."""
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
    accept_from = settings.agents[rules.agent].accept_from
    if ANY_SENDER not in accept_from:
        lines.append(f"{takes(rules.agent, accept_from)}; what others send is refused.")
    host = hosts.named(rules.host)
    if host.has_folder:
        lines[1] += f" {_session_there(rules, settings)}"
    if rules.profile != "hold":
        limits = rules.limits
        quiet = f", not from {_hours(rules)}".replace("-", " to ") if rules.quiet_hours else ""
        lanes = " or ".join(rules.wake_on)
        lines.append(f"May wake it: a task of priority {lanes} of {senders}{quiet}.")
        lines.append(
            f"At most {limits.per_hour} wakes an hour and {limits.per_day} a day, "
            f"each of {limits.time_limit_s} s."
        )
    if rules.profile == "work" and "permission_mode" not in host.keys:
        lines.append("Permissions: those that it has by itself; agentbus cannot limit them.")
    elif rules.profile == "work":
        mode = rules.permission_mode or host.mode or "as its host is set up"
        besides = f"; allowed besides: {', '.join(rules.allow) or 'nothing'}"
        lines.append(f"Permissions: {mode}{besides if 'allow' in host.keys else ''}.")
    if rules.command:
        lines.append(f"Program: {' '.join(rules.command)}")
    return "\n".join([*lines, then])


def _session_there(rules: Rules, settings: Settings) -> str:
    """Say which agent a session is that is opened in the folder; it should be this one."""
    environ = {**settings.environ, "AGENTBUS_AGENT": "", "AGENTBUS_HOST": rules.host}
    who = identity.who(replace(settings, environ=environ), folder=rules.folder).id
    if who == rules.agent:
        return f"A session that you open there is {who}, too."
    return (
        f"A session that you open there is {who}, ANOTHER AGENT WITH AN INBOX OF ITS OWN: by its "
        ".agentbus.toml, or since more agents than one are set up for this folder."
    )


def data(rules: Rules) -> dict[str, Any]:
    """Return how an agent may be woken, as its user has set it up."""
    return {
        "id": rules.agent,
        "host": rules.host,
        "dir": str(rules.folder),
        "wake": rules.profile,
        "wake_on": list(rules.wake_on),
        "instruction": rules.instruction,
        "wake_from": sorted(rules.wake_from),
        "quiet_hours": _hours(rules),
        "command": list(rules.command),
        "permission_mode": rules.permission_mode,
        "allow": list(rules.allow),
        "time_limit_s": rules.limits.time_limit_s,
    }


def row(said: dict[str, Any]) -> str:
    """Return the line of an agent in the list, by what `data` says of it."""
    if said["dir"] is None:
        return f"{said['id']}  {said['host']}  cannot be woken: it has no dir"
    quiet = f"  quiet {said['quiet_hours']}" if said["quiet_hours"] else ""
    lanes = "".join(f"  {words}" for words in status.lanes(said))
    return f"{said['id']}  {said['host']}  {said['dir']}  wake {said['wake']}{lanes}{quiet}"


def _hours(rules: Rules) -> str | None:
    if rules.quiet_hours is None:
        return None
    begin, end = rules.quiet_hours
    return f"{begin:%H:%M}-{end:%H:%M}"
