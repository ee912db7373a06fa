# SPDX-License-Identifier: Apache-2.0
"""The consumers of each agent: by what an inbox, and whoever sent something, is handed what is new.

    >>> await ensure_inbox(bus, "coder")

On a server with accounts its gate makes them, and an account's connection has none of these rights.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, ApiError
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.core.text import many
from mcp_agentbus.errors import NotAllowed, Refused
from mcp_agentbus.store import subjects
from mcp_agentbus.store.streams import BY_OWNER
from mcp_agentbus.store.subjects import RESULTS, TASKS, overlap
from mcp_agentbus.store.upkeep import copiers
from mcp_agentbus.store.upkeep.as_made import consumer_is_as_made

_S: Final = 1_000_000_000  # JetStream counts in nanoseconds
# Offered again this long after a session stopped extending its claim. With the pause between two
# looks of a waiting session (5 s) it stays under the promised 30 s.
ACK_WAIT_S: Final = 24
# A consumer that nobody has asked for so long, in seconds, the server removes: what an agent that
# is gone has left behind. What waits is kept, and whoever reads next makes the consumer anew.
UNUSED_S: Final = 24 * 3600
# Claims that all sessions of an agent may hold in one lane; 256 would end a reader that pages.
CLAIMS_MAX: Final = 2_000


@dataclass(frozen=True)
class Consumer:
    """By what an inbox or an agent takes what is stored for it."""

    stream: str
    name: str
    subject: str
    #: Of what it has handed out, so much may be unfinished.
    max_ack_pending: int


@dataclass(frozen=True)
class ConsumerInfo:
    """How far a consumer is, as the server says."""

    #: Messages that it has not handed out yet.
    waiting: int
    #: Handed out and not finished: held, given back, or of a session that is gone.
    taken: int
    #: It hands out those behind this sequence of the stream next, and those that were given back.
    last: int = 0
    #: Of all up to this one none is unfinished.
    floor: int = 0


def lane(inbox: str, priority: Priority) -> Consumer:
    """Return the consumer of one lane of an inbox."""
    subject = subjects.task_subject(inbox, priority, "*")
    return Consumer(TASKS, subjects.lane_consumer(inbox, priority), subject, CLAIMS_MAX)


def results(agent: str) -> Consumer:
    """Return the consumer of what became of the tasks that an agent sent."""
    subject = subjects.record_subject(agent, "*", "*")
    return Consumer(RESULTS, subjects.results_consumer(agent), subject, 10_000)


def sent(agent: str) -> Consumer:
    """Return the consumer of an agent's open tasks: each is given back until its deadline."""
    subject = subjects.sent_subject(agent, "*", "*")
    return Consumer(RESULTS, subjects.sent_consumer(agent), subject, 100_000)


async def info(bus: Bus, stream: str, name: str) -> ConsumerInfo | None:
    """Ask how far a consumer is; None if there is none, as of an agent that has never read.

    Raises: as `Bus.api`.
    """
    try:
        said = await bus.api(f"CONSUMER.INFO.{stream}.{name}")
    except ApiError as error:
        if error.code == NO_SUCH_CONSUMER:
            return None
        raise
    last, floor = (int(said[each]["stream_seq"]) for each in ("delivered", "ack_floor"))
    return ConsumerInfo(int(said["num_pending"]), int(said["num_ack_pending"]), last, floor)


async def ensure_inbox(bus: Bus, inbox: str) -> None:
    """Create the three lanes of an inbox; does nothing where they exist."""
    await together(*(ensure_consumer(bus, lane(inbox, priority)) for priority in LANES))


async def ensure_sender(bus: Bus, agent: str) -> None:
    """Create the consumers by which an agent learns of the tasks that it sent."""
    await together(ensure_consumer(bus, results(agent)), ensure_consumer(bus, sent(agent)))


def config_of(consumer: Consumer) -> dict[str, Any]:
    """Return the configuration with which a consumer is made."""
    return {
        "name": consumer.name,
        "durable_name": consumer.name,
        "filter_subject": consumer.subject,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": ACK_WAIT_S * _S,
        # `intake.lanes` counts and parks. After a limit of the server's own a task would stay in
        # the stream and never be offered again.
        "max_deliver": -1,
        "max_ack_pending": consumer.max_ack_pending,
        "replay_policy": "instant",
        "max_waiting": 64,
        "inactive_threshold": UNUSED_S * _S,
    }


async def ensure_consumer(bus: Bus, consumer: Consumer) -> None:
    """Make a consumer, or have it as it is made again, where somebody has changed it."""
    config = config_of(consumer)
    body = {"stream_name": consumer.stream, "config": config, "action": ""}
    call = f"CONSUMER.CREATE.{consumer.stream}.{consumer.name}.{consumer.subject}"
    try:
        made = await bus.api(call, body)
        if not consumer_is_as_made(config, made["config"]):  # as one that is kept from going on
            await bus.api(f"CONSUMER.DELETE.{consumer.stream}.{consumer.name}")
            await bus.api(call, body)
    except NotAllowed:  # then its owner has made it, or it is not to be
        with suppress(ApiError):
            has = await bus.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
            if consumer_is_as_made(config, has["config"]):
                return
        if bus.settings.account:  # its gate says why
            raise
        raise NotAllowed(hint=BY_OWNER) from None
    except ApiError:
        strange = await strange_consumers(bus, consumer.stream)
        subject = consumer.subject
        count = sum(any(overlap(a, subject) for a in takes) for _, takes in strange)
        if not count:
            raise
        # Their names are whatever somebody has made up.
        take = "takes" if count == 1 else "take"
        raise Refused(
            f"{many(count, 'consumer')} of another program {take} what is sent to "
            f"{subjects.parts(subject).whose!r}. What is stored there is kept.",
            hint="Run `agentbus doctor --fix`: it removes what is in the way from the bus server.",
        ) from None


async def strange_consumers(bus: Bus, stream: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return the consumers of a stream that agentbus has not made there, with what they take.

    Not those by which the server copies it into another stream: see `upkeep.copiers`.

    Raises: as `Bus.api`.
    """
    strange: list[tuple[str, tuple[str, ...]]] = []
    async for said in copiers.pages(bus, f"CONSUMER.LIST.{stream}", "consumers"):
        config = said["config"]
        takes = config.get("filter_subjects") or [config.get("filter_subject") or ">"]
        if not (_is_ours(stream, config, takes[0]) or copiers.owner(said)):
            strange.append((str(said["name"]), tuple(takes)))
    return strange


def _is_ours(stream: str, config: Mapping[str, Any], subject: str) -> bool:
    """Tell whether agentbus has made a consumer, and nobody has changed what it hands out."""
    whose, _, rest = subjects.parts(subject)
    known = [results(whose), sent(whose)]
    known += [lane(whose, each) for each in LANES if each in rest[:1]]
    here = [each for each in known if each.stream == stream]
    return any(consumer_is_as_made(config_of(each), config) for each in here)
