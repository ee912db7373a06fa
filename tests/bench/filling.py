# SPDX-License-Identifier: Apache-2.0
"""Fill a server quickly with what the package itself would have stored, byte for byte.

    >>> ids = await fill_records(settings, 100_000)      # 25 s; by send_task it would take minutes

Many publishes are in flight at once, each one acknowledged.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import nats
from nats.aio.client import Client

from mcp_agentbus.bus import client, embedded
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.text import now
from mcp_agentbus.store import codec, subjects
from mcp_agentbus.store.steps import first_record, sent_of, step
from mcp_agentbus.store.task import Task

Message = tuple[str, bytes, dict[str, str]]
_IN_FLIGHT = 1_000
#: How many agents the records are spread over.
AGENTS = 20


@asynccontextmanager
async def raw_client(settings: Settings) -> AsyncIterator[Client]:
    """Open a bare nats-py connection to the private server."""
    url, token = embedded.ensure(settings).url, embedded.read_token(settings)
    client = await nats.connect(url, token=token, allow_reconnect=False)
    try:
        yield client
    finally:
        await client.close()


async def store(settings: Settings, messages: Iterable[Message]) -> None:
    """Store the messages in order."""
    async with raw_client(settings) as client:
        stream = client.jetstream(publish_async_max_pending=2 * _IN_FLIGHT)
        left = iter(messages)
        while some := list(itertools.islice(left, _IN_FLIGHT)):
            acks = [await stream.publish_async(*one[:2], headers=one[2]) for one in some]
            await asyncio.gather(*acks)


def task(sender: str, to: str, number: int, body: str) -> Task:
    """Return a task as `send_task` makes it."""
    task_id = hashlib.sha256(f"{sender} {to} {number}".encode()).hexdigest()[:32]
    return Task(
        id=task_id,
        sender=sender,
        to=to,
        subject=f"Task number {number}",
        body=body,
        thread_id=task_id,
        created_at=now(),
        expires_at=now() + timedelta(days=7),
        chain=(sender,),
        session="bench",
    )


async def fill_inbox(settings: Settings, sender: str, to: str, count: int, body: str) -> None:
    """Store `count` normal tasks in one inbox."""
    await store(
        settings,
        (
            (
                subjects.task_subject(to, "normal", sender),
                codec.encode_task(one),
                {**codec.task_headers(one), client.H_MSG_ID: one.id},
            )
            for one in (task(sender, to, number, body) for number in range(count))
        ),
    )


async def fill_records(settings: Settings, count: int, *, after: int = 0) -> list[str]:
    """Store records up to `count`, half of them workers' and half senders'; `after` are there.

    Return the new tasks that `agent-0` sent or got.
    """
    tasks = [task(*_pair(number), number, "") for number in range(after // 2, count // 2)]
    await store(settings, itertools.chain.from_iterable(map(_records, tasks)))
    return [one.id for one in tasks if "agent-0" in {one.sender, one.to}]


def _pair(number: int) -> tuple[str, str]:
    """Return a sender and an addressee: all pairs in turn."""
    sender = number % AGENTS
    to = (sender + 1 + number // AGENTS % (AGENTS - 1)) % AGENTS
    return f"agent-{sender}", f"agent-{to}"


def _records(one: Task) -> Iterator[Message]:
    sent = sent_of(one)
    claimed = step(first_record(sent), "claimed", one.to, "bench", now(), attempts=1)
    record = step(claimed, "completed", one.to, "bench", now(), summary="Done as asked. " * 10)
    yield subjects.sent_subject(one.sender, one.to, one.id), codec.encode_sent(sent), {}
    yield subjects.record_subject(one.sender, one.to, one.id), codec.encode_record(record), {}
