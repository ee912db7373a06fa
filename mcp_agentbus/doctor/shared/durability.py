# SPDX-License-Identifier: Apache-2.0
"""Whether what a shared server acknowledges is on its disk before, as far as that can be known.

The server tells nobody. Its owner, on its machine, has its configuration beside the key.
"""

from __future__ import annotations

from typing import Final

from mcp_agentbus.bus.own.disk import is_synced
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.store.status import DURABLE

_NAME: Final = "durability"


def durability(settings: Settings) -> Check:
    """See that what is acknowledged is on the disk before."""
    if settings.account:
        how = "synced by its configuration, as `agentbus server init` writes it; it does not tell"
        return Check(_NAME, "ok", how)
    conf = settings.nkey_file and settings.nkey_file.with_name("nats.conf")
    synced = is_synced(conf) if conf else None
    if conf and synced is not None:
        if synced:
            return Check(_NAME, "ok", DURABLE[True])
        fix = f"Write sync_interval: always into jetstream of {conf}, then start it anew."
        return Check(_NAME, "wrong", DURABLE[False], fix)
    return Check(
        _NAME,
        "warning",
        "a shared server does not tell whether what it acknowledges is on its disk",
        "On its machine see that its configuration says sync_interval: always, as "
        "`agentbus server config` prints it.",
    )
