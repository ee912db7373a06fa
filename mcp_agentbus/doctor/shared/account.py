# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` says of an account of a shared server: its gate, and what it is known by.

    >>> await checks(settings, link)
    [Check(name='gate', state='ok', said='answers laptop in 3 ms'), Check(name='authority', ...)]

What only the server's owner may see is not looked at, and `NOT_HERE` says so.
"""

from __future__ import annotations

import ssl
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.connection import API, Link
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.errors import AgentbusError, GateAway
from mcp_agentbus.store import roster

_ANSWER_S: Final = 3.0
# What takes longer than this is felt by each call, which asks several times.
_SLOW_MS: Final = 250.0
_SOON: Final = timedelta(days=30)
#: Of what is on a server that only its owner may see.
NOT_HERE: Final = "not looked at: an account sees what is its own, and the server's gate the rest"
#: Of a gate that has not answered: what an account can do about it is little.
SILENT: Final = Check(
    "gate",
    "wrong",
    "it hears, and has not answered in time",
    "The server may be reading its configuration, or have much to do: look again in a minute. If "
    "it stays so, tell whoever runs it: the log of its gate says why.",
)


async def checks(settings: Settings, link: Link) -> list[Check]:
    """See that the gate answers, and until when the server is known; none without an account.

    Raises:
        GateAway: no gate is there.
        TimeoutError, LinkLost: it does not answer.
    """
    if not settings.account:
        return []
    try:
        await link.request(f"{API}.INFO", timeout=_ANSWER_S)  # the first one warms the connection
        began = time.perf_counter()
        await link.request(f"{API}.INFO", timeout=_ANSWER_S)
    except GateAway:
        raise
    except AgentbusError as error:  # it refuses: the account is cut off
        return [Check("gate", "wrong", error.message, error.hint), *_authority(settings)]
    ms = (time.perf_counter() - began) * 1000
    gate = Check("gate", "ok", f"answers the account {settings.account} in {ms:.0f} ms")
    if ms > _SLOW_MS:
        fix = "See how far the server is (ping), and how busy its machine; each call asks it often."
        gate = Check("gate", "warning", gate.said, fix)
    return [gate, *_authority(settings)]


async def agents(settings: Settings) -> list[Check]:
    """Name the agents of config.toml that are not this account's on this bus; none without one.

    Raises:
        AgentbusError: that cannot be found out.
    """
    if not settings.account or not settings.agents:
        return []
    async with Bus(settings) as bus:
        if not await bus.reconnected(0):
            return []
        whose = {name: await roster.registration(bus, name) for name in settings.agents}
    checks = []
    for name, registration in whose.items():
        if registration is None:
            said = "an agent that the bus does not know: nobody can send it anything"
            fix = f"Run `agentbus inbox --peek --agent {name}`: it says why, or makes it known."
            checks.append(Check(f"name {name}", "warning", said, fix))
        elif registration.account not in {"", settings.account}:
            said = "an agent of another account on this bus: by that name nobody is woken here"
            fix = f"Run `agentbus agent remove {name}`, then add it under another name."
            checks.append(Check(f"name {name}", "wrong", said, fix))
    return checks


def away(error: GateAway) -> Check:
    """Say that a server runs without its gate."""
    return Check("gate", "wrong", error.message, error.hint)


def certificate(link: Link) -> list[Check]:
    """See until when the certificate holds that the server shows; none without TLS."""
    if link.shown_until is None:
        return []
    until = datetime.fromtimestamp(link.shown_until, UTC)
    said = f"the server's own holds until {until:%Y-%m-%d}"
    if until - datetime.now(UTC) > _SOON:
        return [Check("certificate", "ok", said)]
    fix = (
        "Whoever runs the server renews it, by `agentbus server init --shared` or where it is "
        "from, and then has the server read it: systemctl --user reload agentbus-server"
    )
    return [Check("certificate", "warning", f"{said}: nobody gets in from then on", fix)]


def _authority(settings: Settings) -> list[Check]:
    """See until when the private authority counts by which the server is known, if it has one."""
    if settings.ca_file is None:
        return []
    context = ssl.create_default_context(cafile=settings.ca_file)
    until = min(
        datetime.fromtimestamp(ssl.cert_time_to_seconds(str(each["notAfter"])), UTC)
        for each in context.get_ca_certs()
    )
    said = f"the server is known by {settings.ca_file}, until {until:%Y-%m-%d}"
    if until - datetime.now(UTC) > _SOON:
        return [Check("authority", "ok", said)]
    fix = "Ask whoever runs it for a line of its new authority, then run `agentbus join`."
    return [Check("authority", "warning", said, fix)]
