# SPDX-License-Identifier: Apache-2.0
"""What a client with the token tries against a bus in use: each time a task is handed over all the same.

Each is a sentence and what it does; what has a finding of its own stands in the files beside.
"""

import asyncio
import json

import pytest
from listeners import in_state
from rawclient import Raw

from mcp_agentbus.core import text
from mcp_agentbus.errors import UnknownAgent
from mcp_agentbus.handoff import agents
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster
from mcp_agentbus.wakes import demand

LATE, EARLY = "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"


def message(subject, **fields):
    """Return what stores some JSON."""
    return ("store", subject, json.dumps(fields).encode(), b"")


def header(subject, line):
    """Return what stores bytes with a header."""
    return ("store", subject, b"{}", f"NATS/1.0\r\n{line}\r\n\r\n".encode())


def stream(*subjects_, **more):
    """Return what makes a stream of the attacker's own."""
    config = {"name": "MINE", "subjects": subjects_, "storage": "memory", **more}
    return ("api", "STREAM.CREATE.MINE", config)


def flood(count, subject, data=b"x"):
    return ("flood", count, subject, data)


TASK = {"type": "task.request", "payload": {"content": "x"}}
ENDED = {"type": "task.result", "status": "completed", "agent": "m", "updated_at": "2026-01-01"}
ATTACKS = {
    "a task of all times that there are": [
        message("agentbus.{coder}.tasks.high.m", id="abcdef1", created_at=EARLY, expires_at=LATE,
                deliver_at=LATE, **TASK),
    ],
    "a task that was over before it began": [
        message("agentbus.{coder}.tasks.high.m", id="abcdef2", created_at=LATE, expires_at=EARLY, **TASK),
    ],
    "a task of a lane that is none": [message("agentbus.{coder}.tasks.urgent.m", id="abcdef3", **TASK)],
    "a task by who is no agent": [message("agentbus.{coder}.tasks.high.E\u202e", id="abcdef4", **TASK)],
    "a task to nobody": [message("agentbus.\u202e.tasks.high.m", id="abcdef5", **TASK)],
    "a message that goes at once": [header("agentbus.{coder}.tasks.high.m", "Nats-TTL: 1")],
    "a message that stays for ever": [header("agentbus.{coder}.heartbeat.m", "Nats-TTL: never")],
    "a roll-up of an inbox": [header("agentbus.{coder}.tasks.high.m", "Nats-Rollup: all")],
    "a roll-up of records": [header("agentbus.{planner}.results.{coder}.x", "Nats-Rollup: all")],
    "a roll-up of the roster": [header("agentbus.m.profile", "Nats-Rollup: all")],
    "a roll-up of what waits for its time": [
        header("agentbus.{coder}.sched.high.m.x", "Nats-Schedule-Rollup: sub"),
    ],
    "a schedule of records": [
        header("agentbus.{coder}.sched.high.m.x",
               "Nats-Schedule: @every 1s\r\nNats-Schedule-Target: agentbus.{planner}.results.m.x"),
    ],
    "a schedule that reads from another subject": [
        header("agentbus.{coder}.sched.high.m.x",
               "Nats-Schedule: @every 1s\r\nNats-Schedule-Target: agentbus.{coder}.due.high.m\r\n"
               "Nats-Schedule-Source: agentbus.{coder}.tasks.high.planner"),
    ],
    "an expected sequence that is none": [
        header("agentbus.{coder}.tasks.high.m", "Nats-Expected-Last-Sequence: -1"),
    ],
    "a batch that never ends": [
        header("agentbus.{coder}.tasks.high.m", "Nats-Batch-Id: x\r\nNats-Batch-Sequence: 1"),
    ],
    "a header of 60 KB": [header("agentbus.{coder}.tasks.high.m", f"Agentbus-Chain: {'a,' * 30_000}")],
    "a thousand hops": [header("agentbus.{coder}.tasks.high.m", f"Agentbus-Hops: {'9' * 5_000}")],
    "parked rubbish": [("store", "agentbus.{coder}.dead.high.m", b"\xff", b"")],
    "what has come due and was never sent": [
        message("agentbus.{coder}.due.high.planner", id="abcdef6", **TASK),
    ],
    "wakes of nothing": [message("agentbus.{planner}.wakes.{coder}.x", moments=[{"at": LATE}] * 500)],
    "signs by the thousand that something came": [flood(3_000, "agentbus.{coder}.wake.high.m")],
    "signs by the thousand that something came back": [flood(3_000, "agentbus.{coder}.back")],
    "records by the thousand that are none": [flood(1_000, "agentbus.{planner}.results.{coder}.x")],
    "results by the hundred of what nobody sent": [
        message(f"agentbus.{{planner}}.results.m{n}.x{n}abcdef", **ENDED) for n in range(300)
    ],
    "tasks by the hundred": [
        message(f"agentbus.{{coder}}.tasks.low.m{n}", id=f"abcdef-{n}", **TASK) for n in range(300)
    ],
    "agents by the hundred": [
        message(f"agentbus.m{n}.profile", registered_at="2026-01-01", description="x" * 300)
        for n in range(300)
    ],
    "every role there can be": [
        message("agentbus.m.profile", registered_at="2026-01-01", roles=[f"r{n}" for n in range(5_000)]),
    ],
    "a profile that fills the roster's room": [
        ("store", f"agentbus.m{n}.profile", b"x" * 900_000, b"") for n in range(20)
    ],
    "acknowledgements of what others have": [
        flood(1, f"$JS.ACK.AGENTBUS_TASKS.{{coder}}_{lane}.1.{n}.{n}.0.0", word)
        for lane in ("high", "normal") for n in range(1, 9)
        for word in (b"+NAK", b"+WPI", b'-NAK {"delay": 99999999999}', b"\xff")
    ],
    "a stream of everybody's replies": [stream("_INBOX.>")],
    "a stream of JetStream's own requests": [stream("$JS.API.>", no_ack=True)],
    "a stream of acknowledgements": [stream("$JS.ACK.>", no_ack=True)],
    "a stream of signs": [stream("agentbus.*.wake.*.*", "agentbus.*.back", "agentbus.*.succeed.*")],
    "a stream over one of ours": [stream("agentbus.>")],
    "a mirror of every task": [stream(mirror={"name": "AGENTBUS_TASKS"})],
    "all memory that the server gives": [
        stream("fill"), *[("store", "fill", b"x" * 900_000, b"")] * 75,
    ],
    "a consumer that pushes our tasks elsewhere": [
        ("api", "CONSUMER.CREATE.AGENTBUS_TASKS", {"stream_name": "AGENTBUS_TASKS", "config": {
            "deliver_subject": "agentbus.m.tasks.high.m", "ack_policy": "explicit"}}),
    ],
    "pulls by the hundred that take nothing": [
        ("api", "CONSUMER.INFO.AGENTBUS_TASKS.{coder}_high", None),
        flood(500, "$JS.API.CONSUMER.MSG.NEXT.AGENTBUS_TASKS.{coder}_normal", b'{"batch":0}'),
    ],
    "a request that is no JSON": [flood(50, "$JS.API.STREAM.UPDATE.AGENTBUS_TASKS", b"{" * 5_000)],
    "deleted consumers": [
        ("api", f"CONSUMER.DELETE.AGENTBUS_{kind}", None)
        for kind in ("TASKS.{coder}_normal", "TASKS.{coder}_high", "RESULTS.{planner}_results",
                     "RESULTS.{planner}_sent")
    ],
    "every stream deleted but the roster's": [
        ("api", f"STREAM.DELETE.AGENTBUS_{name}", None)
        for name in ("TASKS", "RESULTS", "DEAD", "SCHED", "PRESENCE")
    ],
    "everything purged but the roster": [
        ("api", f"STREAM.PURGE.AGENTBUS_{name}", None) for name in ("TASKS", "RESULTS", "PRESENCE")
    ],
}  # fmt: skip


def named(part, names):
    """Return a part of a step with the agents' names in it."""
    if isinstance(part, bytes):
        return named(part.decode("latin-1"), names).encode("latin-1")
    for name, agent in names.items() if isinstance(part, str) else ():
        part = part.replace(f"{{{name}}}", agent)
    return part


async def carry_out(bus, raw, steps, names):
    for kind, *step in steps:
        first, *more = (named(part, names) for part in step)
        if kind == "store":
            await raw.ask(first.encode(), *more)
        elif kind == "api":
            await raw.api(first, *more)
        else:
            for _ in range(first):
                await bus.send(*more, {})


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_task_is_handed_over_beside(own_world, attack):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await read_inbox(planner)
    await read_inbox(coder)
    mallory = await own_world.another_bus()
    names = {"planner": planner.me.id, "coder": coder.me.id}
    began = text.now()
    async with Raw(own_world.bus.settings.data_dir) as raw:
        await carry_out(mallory, raw, ATTACKS[attack], names)

    async with asyncio.timeout(10):
        [sent] = await send_task(planner, coder.me.id, "Count", "x", priority="high")
        await demand.look(coder.bus, coder.me.id, coder.inboxes)
        await agents.page(coder.bus)
        tasks = [item.task for item in (await read_inbox(coder, limit=50)).tasks]
        await publish_result(coder, sent.task_id, "completed")
        [result] = (await watch_inbox(planner, timeout_s=5, task_id=sent.task_id)).results

    assert (sent.state, result.state) == ("stored", "completed")
    assert [task.body for task in tasks if task.id == sent.task_id] == ["x"]
    assert all(began <= task.expires_at for task in tasks)


async def test_who_was_wiped_off_the_roster_is_sent_to_from_its_next_sign_of_life_on(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    for stream_ in ("AGENTBUS_AGENTS", "AGENTBUS_PRESENCE"):
        await planner.bus.api(f"STREAM.DELETE.{stream_}")

    with pytest.raises(UnknownAgent, match="Nothing was sent"):
        await send_task(planner, coder.me.id, "Count", "x")
    await roster.beat(coder.bus, coder.me, coder.id)
    await in_state("live session", planner, coder.me.id)
    [sent] = await send_task(planner, coder.me.id, "Count", "x")

    assert sent.state == "stored"


def test_as_many_are_tried_as_we_say():
    assert len(ATTACKS) >= 40
