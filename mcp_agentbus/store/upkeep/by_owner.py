# SPDX-License-Identifier: Apache-2.0
"""What the owner of a server makes by hand, where its users may make nothing themselves.

    >>> made = by_owner(["planner", "coder"], replicas=3)
    >>> len(made["streams"]), len(made["consumers"])
    (6, 10)

Each is what JetStream's API takes, and `nats stream add --config` and `nats consumer add --config`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mcp_agentbus.core.ids import LANES, inbox_of
from mcp_agentbus.store import streams
from mcp_agentbus.store.queries import consumers


def by_owner(agents: Iterable[str], *, replicas: int = 1) -> dict[str, list[dict[str, Any]]]:
    """Return the configuration of each stream, in the order in which they are made, and consumer.

    Args:
        agents: whose inboxes there are to be: ids, and `role:NAME`.
        replicas: on how many servers of a cluster each stream is kept.

    Raises:
        BadInput: one names no agent and no role.
    """
    made: list[consumers.Consumer] = []
    for agent in agents:
        inbox = inbox_of(agent)
        made += [consumers.lane(inbox, priority) for priority in LANES]
        if inbox == agent:
            made += [consumers.results(agent), consumers.sent(agent)]
    return {
        "streams": [{**each, "num_replicas": replicas} for each in streams.SETTINGS],
        "consumers": [
            # Without an end of its own: nobody else could make it anew.
            {
                "stream_name": each.stream,
                "config": consumers.config_of(each) | {"inactive_threshold": 0},
            }
            for each in made
        ],
    }
