# SPDX-License-Identifier: Apache-2.0
"""Take all that waits at a consumer, also what was stored this very moment.

    >>> await pull(bus, consumers.lane("coder", "high"), 5)
    [Delivery(subject='agentbus.coder.tasks.high.planner', ...)]

A server says that a message is stored before the consumers of its stream have heard of it: a busy
one some milliseconds before (nats-server 2.15 has a queue for each). Meanwhile a consumer says that
nothing waits. So where it hands out less than is wanted, the stream is asked whether there is more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final
from weakref import WeakKeyDictionary

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, ApiError, Delivery, Found
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.errors import AgentbusError, NotAllowed
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.queries.consumers import Consumer

# In seconds, between looks at a consumer that is behind; one that somebody keeps from handing out
# is so for good.
_PAUSES_S: Final = (0, 0.001, 0.005, 0.02, 0.1, 0.2)
# The last sequence that each consumer is known to have handed out to anybody: to start behind it is
# to ask once, and for no text of what others hold. With the connection on which that was said: with
# it a server may have lost its streams, which count from 1 again.
_handed_out: Final[WeakKeyDictionary[Bus, tuple[int, dict[Consumer, int]]]] = WeakKeyDictionary()


async def pull(bus: Bus, consumer: Consumer, batch: int) -> list[Delivery]:
    """Take up to `batch` messages that wait now, and no fewer while more were stored before.

    Raises: as `Bus.pull`, but for a consumer that is lost; once something is taken it is returned,
        whatever comes after.
    """
    known = _known(bus)
    if consumer in known:
        deliveries = await _pulled(bus, consumer, batch)
    else:  # asked beside, it waits for no more
        told = _told(bus, consumer)
        deliveries, known[consumer] = await both(_pulled(bus, consumer, batch), told)
    if not deliveries:
        return await _more(bus, consumer, batch, deliveries)
    with suppress(AgentbusError):
        return await _more(bus, consumer, batch, deliveries)
    return deliveries


async def _more(
    bus: Bus, consumer: Consumer, batch: int, deliveries: list[Delivery]
) -> list[Delivery]:
    """Add what the consumer has not handed out only because it is behind; return all of them."""
    for pause_s in _PAUSES_S:
        if len(deliveries) >= batch or not await _is_behind(bus, consumer, deliveries):
            break
        await asyncio.sleep(pause_s)
        deliveries += await _pulled(bus, consumer, batch - len(deliveries))
    return deliveries


async def _pulled(bus: Bus, consumer: Consumer, batch: int) -> list[Delivery]:
    """Take what the consumer hands out, as `Bus.pull`.

    One that its server has lost is made anew: it hands out all again that is stored, and the
    records tell what is over. One that was made to leave out what the messages say is mended.
    """
    try:
        deliveries = await bus.pull(consumer.stream, consumer.name, batch)
    except ApiError as error:
        if error.code != NO_SUCH_CONSUMER:
            raise
        await streams.ensure_streams(bus)
    else:
        empty = [each for each in deliveries if subjects.H_LEFT_OUT in each.headers]
        if not empty:
            return deliveries
        await together(*(bus.give_back(each) for each in deliveries))
    await consumers.ensure_consumer(bus, consumer)
    _known(bus)[consumer] = 0
    return await bus.pull(consumer.stream, consumer.name, batch, is_made=True)


async def _is_behind(bus: Bus, consumer: Consumer, deliveries: list[Delivery]) -> bool:
    """Tell whether the stream has something behind the last that the consumer has handed out."""
    known = _known(bus)
    stored: list[Found] = []
    # What is refused, or its stream lost, meanwhile its reader is told where it counts what waits.
    try:
        last = max(known.get(consumer, 0), *(delivery.seq for delivery in deliveries), 0)
        beyond = {"seq": last + 1, "batch": 1, "next_by_subj": consumer.subject}
        if stored := await bus.many(consumer.stream, beyond):
            known[consumer] = await _handed_out_to(bus, consumer)
            # What others have taken meanwhile is theirs.
            return stored[0].seq > known[consumer]
    except NotAllowed:
        pass
    except ApiError as error:
        # Made anew by the next pull, it hands that out.
        return bool(stored) and error.code == NO_SUCH_CONSUMER
    return False


def _known(bus: Bus) -> dict[Consumer, int]:
    connection, known = _handed_out.get(bus, (0, {}))
    if connection != bus.connections:
        known = {}
        _handed_out[bus] = (bus.connections, known)
    return known


async def _told(bus: Bus, consumer: Consumer) -> int:
    """Return the same, or 0 where that is not to be had: then it is seen by what is stored."""
    with suppress(AgentbusError):
        return await _handed_out_to(bus, consumer)
    return 0


async def _handed_out_to(bus: Bus, consumer: Consumer) -> int:
    """Return the sequence of the last message that anybody was handed out."""
    info = await bus.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
    return int(info["delivered"]["stream_seq"])
