# SPDX-License-Identifier: Apache-2.0
"""`agentbus doctor --self-test`: one task's whole way on the user's own bus, stage by stage.

    $ agentbus doctor --self-test
    ok  send           7 ms  stored as task 9d0c... for doctor-1a2b-worker, wake requested
    ok  heard        341 ms  the listener decided to wake the worker and told its session

Two agents are made up for it and taken off the bus afterwards, with all that they stored. The
configuration is not touched, and nobody else's inbox, unless `--wake AGENT` names one.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any, Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, NO_SUCH_STREAM, ApiError
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor import check
from mcp_agentbus.doctor.check import Stage, Stages, Stopped, last_line, since
from mcp_agentbus.doctor.report import Out, tell
from mcp_agentbus.errors import AgentbusError, BusUnreachable, NoListener
from mcp_agentbus.handoff import inbox, lookup, results, send
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket, starter
from mcp_agentbus.store import roster, streams, subjects

#: What is left of a task whose test was killed goes by itself after this time.
_EXPIRES_S: Final = 600
# Less than the stage may take, so that it is the answer which says that nothing came.
_SEEN_S: Final = 5.0
# A host that was started, and its model, may take their time.
_WOKEN_S: Final = 120.0
_LOOK_AGAIN_S: Final = 0.25
_SUBJECT: Final = "agentbus self-test"
_BODY: Final = (
    "This task tests the bus. There is nothing to be done: call publish_result with status "
    "completed and the summary ok."
)


# Both ways of a connection to the listener.
_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def run(settings: Settings, *, wake: str | None, as_json: bool, out: Out) -> int:
    """Send a task through the bus and its result back; return 0 if it came through, else 1.

    Args:
        settings: the user's own; its server must run, this does not start it.
        wake: an agent of the configuration that the task is for, so that it is really started.
        as_json: print one object with all stages at the end.
        out: takes what is to be printed.
    """
    tests = Stages((lambda _: None) if as_json else lambda stage: tell(stage, out))
    sender = f"doctor-{secrets.token_hex(2)}"
    worker = wake or f"{sender}-worker"
    try:
        await tests.stage("server", _server(settings), "Without a server no task can be stored.")
        async with _bus(settings, tests, *([sender] if wake else [sender, worker])) as bus:
            way = _woken(tests, bus, sender, worker) if wake else _chain(tests, bus, sender, worker)
            await way
    except Stopped:
        pass
    failed = [one.name for one in tests.done if one.state == "failed"]
    if as_json:
        data = {"ok": not failed, "stages": [asdict(one) for one in tests.done]}
        out(json.dumps(data, ensure_ascii=False))
    else:
        out(last_line(tests.done, failed))
    return int(bool(failed))


async def _server(settings: Settings) -> str:
    if settings.url:
        return f"shared server {settings.url}"
    found = await asyncio.to_thread(embedded.find, settings)
    if not found:
        # Not started here: whoever has stopped it is to hear that it does not run.
        raise BusUnreachable("The server is not running.", hint="Run `agentbus server start`.")
    return f"runs at {found.url}"


@asynccontextmanager
async def _bus(settings: Settings, tests: Stages, *ours: str) -> AsyncGenerator[Bus, None]:
    """Open the bus; take our agents and all that they stored off it at the end."""
    async with Bus(settings) as bus:
        whole = True
        try:
            yield bus
        except Stopped:
            # Another's agent may still hold a task of ours, and must read that it was withdrawn.
            whole = len(ours) > 1
            raise
        finally:
            with suppress(Stopped):
                await tests.stage(
                    "cleanup",
                    _forget(bus, ours, whole=whole),
                    f"{' and '.join(ours)} may stay in `agentbus agents`; nothing else is harmed.",
                )


async def _chain(tests: Stages, bus: Bus, sender: str, worker: str) -> None:
    """Be both agents."""
    me = Agent(sender, description="self-test, goes by itself")
    you = Agent(worker, description="self-test, goes by itself")
    async with Session(bus, me) as planner, Session(bus, you) as coder, AsyncExitStack() as stack:
        await tests.stage(
            "register",
            _registered(planner, coder),
            "The server answers, but its streams cannot be used.",
        )
        told = await _joined(tests, stack, planner, coder)
        task_id = await _sent(tests, planner, worker)
        await tests.stage("stored", _stored(bus, worker, sender), "A receipt was not true.")
        if told:
            await _heard(tests, told)
        await tests.stage("claim", _claimed(coder, task_id), "The worker did not get the task.")
        await tests.stage(
            "result", _published(coder, task_id), "The worker's result was not stored."
        )
        await tests.stage("seen", _seen(planner, task_id), "The sender does not see the result.")
        said = "whether an agent without a session is started was not tested: that takes its host"
        fix = "Give --wake AGENT. " + (
            f"You have {', '.join(sorted(bus.settings.rules))}."
            if bus.settings.rules
            else "Add one first: agentbus agent add ID --host HOST --dir FOLDER"
        )
        tests.add(Stage("wake", "skipped", 0, said, fix))


async def _registered(*sessions: Session) -> str:
    for session in sessions:
        await session.called()
        await session.can_read()
    return " and ".join(session.me.id for session in sessions)


async def _joined(
    tests: Stages, stack: AsyncExitStack, planner: Session, coder: Session
) -> _Ends | None:
    """Have a listener, if one is to be had, know both; return the worker's connection to it."""
    began = time.perf_counter()
    settings = coder.bus.settings
    try:
        async with asyncio.timeout(check.STAGE_S):
            how = await _listener(settings)
        await _join(settings, planner, stack, can_nudge=False)
        told = await _join(settings, coder, stack, can_nudge=True)
        with suppress(TimeoutError):  # then the stage `heard` tells
            async with asyncio.timeout(check.STAGE_S):
                await _on_roster(coder)
    except NoListener as error:
        said = "no listener runs, so no wake was tested"
        tests.add(Stage("listener", "skipped", since(began), said, error.hint))
    except (OSError, ValueError, TimeoutError, AgentbusError) as error:
        said = "the listener did not take the sessions"
        if isinstance(error, AgentbusError):
            said += f": {error.message}"
        fix = "Nobody is woken. Run `agentbus listen --replace`."
        tests.add(Stage("listener", "failed", since(began), said, fix))
    else:
        tests.add(Stage("listener", "ok", since(began), f"{how}, and knows both"))
        return told
    return None


async def _on_roster(session: Session) -> None:
    """Wait until the roster shows that a listener looks after an agent, as receipts tell."""
    while True:
        entry = await roster.look(session.bus, session.me.id)
        if entry and entry.holds:
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _listener(settings: Settings) -> str:
    """See that a listener runs, starting one where a session would; say which.

    Raises:
        NoListener: none runs, and none is to be started.
    """
    how = "runs"
    while True:
        try:
            said = await asyncio.to_thread(local_socket.ask, settings, {"op": "status"})
        except NoListener:
            if how == "runs":
                if not await asyncio.to_thread(starter.start_listener, settings):
                    raise
                how = "was started, as by a session"
        else:
            # One that has just been started has not reached the bus yet, or it has no bus.
            if how == "runs" or said.get("bus") == "ok":
                return how
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _join(
    settings: Settings, session: Session, stack: AsyncExitStack, *, can_nudge: bool
) -> _Ends:
    """Join a session to the listener, as `agentbus serve` does; it leaves with the stack.

    Raises:
        NoListener: there is none.
        AgentbusError, OSError, ValueError, TimeoutError: it did not take the session.
    """
    try:
        connection = await asyncio.to_thread(local_socket.connect, settings)
    except OSError:
        raise NoListener from None
    connection.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    stack.callback(writer.close)
    me = {"agent": session.me.id, "host": session.me.host, "session": session.id}
    writer.write(local_socket.line({"op": "join", **me, "can_nudge": can_nudge}))
    async with asyncio.timeout(local_socket.ASK_TIMEOUT_S):
        answer = local_socket.message(await reader.readline())
    if "joined" not in answer:
        raise AgentbusError(str(answer.get("error", "it did not answer")))
    return reader, writer


async def _heard(tests: Stages, told: _Ends) -> None:
    """Wait for the notice that the listener gives to the worker's session.

    Without it a task is found at the next look all the same, so the test goes on.
    """
    with suppress(Stopped):
        await tests.stage(
            "heard", _notice(told), "The listener runs, but a stored task does not stir it."
        )


async def _notice(told: _Ends) -> str:
    reader, writer = told
    try:
        while (asked := local_socket.message(await reader.readline())).get("op") != "nudge":
            pass
        writer.write(local_socket.line({"n": asked.get("n"), "shown": True, "why": ""}))
        await writer.drain()
    except (OSError, ValueError):
        raise NoListener("The listener has ended.") from None
    return "the listener decided to wake the worker and told its session"


async def _sent(tests: Stages, sender: Session, worker: str) -> str:
    """Send the task; return its id, which follows from its request's."""
    key = secrets.token_hex(8)

    async def receipt() -> str:
        [one] = await send.send_task(
            sender, worker, _SUBJECT, _BODY,
            priority="high", expires_in_s=_EXPIRES_S, request_id=key,
        )  # fmt: skip
        why = f" ({one.reason})" if one.reason else ""
        return f"{one.state} as task {one.task_id} for {worker}, wake {one.wake}{why}"

    await tests.stage("send", receipt(), "The server did not take the task.")
    return ids.new_task_id(sender.me.id, worker, key)


async def _stored(bus: Bus, worker: str, sender: str) -> str:
    found = await bus.last(subjects.TASKS, subjects.task_subject(worker, "high", sender))
    if found is None:
        raise AgentbusError("The stream does not hold the task.")
    return f"the stream {subjects.TASKS} holds it, sequence {found.seq}"


async def _claimed(worker: Session, task_id: str) -> str:
    found = await inbox.read_inbox(worker)
    if task_id not in worker.claims:
        raise AgentbusError(
            "read_inbox did not return it." + (f" {found.degraded}" if found.degraded else "")
        )
    return f"{worker.me.id} holds it"


async def _published(worker: Session, task_id: str) -> str:
    done = await results.publish_result(worker, task_id, "completed", summary="ok")
    return f"{worker.me.id} published it: {done.state}"


async def _seen(sender: Session, task_id: str) -> str:
    found = await inbox.watch_inbox(sender, task_id=task_id, timeout_s=_SEEN_S)
    if not any(one.task_id == task_id for one in found.results):
        raise AgentbusError("watch_inbox did not return it.")
    await sender.outcomes.confirm()
    return f"{sender.me.id} has read it"


async def _woken(tests: Stages, bus: Bus, sender: str, worker: str) -> None:
    """Be the sender, and have an agent of the configuration be woken and answer."""
    async with Session(bus, Agent(sender)) as planner, AsyncExitStack() as stack:
        await tests.stage("register", _registered(planner), "The streams cannot be used.")
        await tests.stage(
            "listener", _looked_after(planner, worker, stack), "Nothing would wake it."
        )
        task_id = await _sent(tests, planner, worker)
        try:
            for name, steps, means in (
                ("wake", {"waking", "woken"}, "The listener did not wake it."),
                ("claim", {"claimed"}, "It was woken, but did not read this task."),
                ("result", {"completed"}, "It did not finish."),
            ):
                work = _lived(planner, task_id, steps)
                await tests.stage(name, work, means, within_s=_WOKEN_S, then=_see(worker))
            await tests.stage("seen", _seen(planner, task_id), "The result does not come back.")
        finally:
            with suppress(AgentbusError):  # it has ended
                await results.publish_result(planner, task_id, "cancelled")


def _see(worker: str) -> str:
    return f"See `agentbus agent wakes {worker}`."


async def _looked_after(planner: Session, worker: str, stack: AsyncExitStack) -> str:
    settings = planner.bus.settings
    rules = settings.rules.get(worker)
    if rules is None or rules.profile == "hold":
        raise AgentbusError(
            f"{worker} is no agent that its user allows to be started.",
            hint=f"Run `agentbus agent add {worker} --host HOST --dir FOLDER`.",
        )
    how = await _listener(settings)
    await _join(settings, planner, stack, can_nudge=False)
    return f"{how}, and may start {worker} ({rules.host}, {rules.profile})"


async def _lived(planner: Session, task_id: str, steps: set[str]) -> str:
    """Wait until one of these steps is in the life of a task."""
    while True:
        told = (await lookup.task_life(planner, task_id)).history
        for one in told:
            if one.state in steps:
                return f"{one.state} by {one.by}" + (f": {one.reason}" if one.reason else "")
            if one.state in {"wake-held", "wake-failed"} and "completed" not in steps:
                raise AgentbusError(f"{one.state}: {one.reason}.", hint=_see(one.by))
            if one.state in {"failed", "rejected", "needs_approval", "parked", "expired"}:
                raise AgentbusError(f"{one.by} ended it as {one.state}.", hint=_see(one.by))
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _forget(bus: Bus, agents: Sequence[str], *, whole: bool) -> str:
    """Take agents off the server, and, if `whole`, all that was stored for and by them.

    Raises:
        AgentbusError: the server does not answer, or does not allow it.
    """
    # One that went away meanwhile is not started for this.
    if not await bus.reconnected(1):
        raise BusUnreachable("The server has gone.", hint="Run `agentbus server start`.")
    for agent in agents:
        for stream in streams.STREAMS if whole else (subjects.AGENTS, subjects.PRESENCE):
            purge = {"filter": subjects.everything_of(agent)}
            await _unless_missing(bus, f"STREAM.PURGE.{stream}", purge)
        lanes = [(subjects.TASKS, subjects.lane_consumer(agent, lane)) for lane in ids.LANES]
        own = [subjects.results_consumer(agent), subjects.sent_consumer(agent)]
        for stream, consumer in (*lanes, *((subjects.RESULTS, one) for one in own)):
            await _unless_missing(bus, f"CONSUMER.DELETE.{stream}.{consumer}", None)
    are = "is" if len(agents) == 1 else "are"
    left = "" if whole else "; the task was withdrawn, and its record stays for 30 days"
    return f"{' and '.join(agents)} {are} off the bus again{left}"


async def _unless_missing(bus: Bus, call: str, body: dict[str, Any] | None) -> None:
    try:
        await bus.admin.api(call, body)
    except ApiError as error:
        if error.code not in {NO_SUCH_CONSUMER, NO_SUCH_STREAM}:
            raise
