# SPDX-License-Identifier: Apache-2.0
"""`agentbus doctor --self-test`: one task's whole way on the user's own bus, stage by stage.

    $ agentbus doctor --self-test
    ok  send           7 ms  stored as task 9d0c... for doctor-1a2b-worker, wake requested
    ok  heard        341 ms  the listener decided to wake the worker and told its session

Two agents are made up for it and taken off the bus afterwards, with all that they stored; those of
an account of a shared server stay, and are its own for each test. The configuration is not touched,
and nobody else's inbox, unless `--wake AGENT` names one. A person who is to be told what needs one
is told that this was a test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.rules import least_profile
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.core.framing import spelled
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor import check
from mcp_agentbus.doctor.check import Stage, Stages, Stopped, since
from mcp_agentbus.doctor.listener import with_login
from mcp_agentbus.doctor.member import LOOK_AGAIN_S, Member, joined, listener
from mcp_agentbus.doctor.report import Out, last_line, tell
from mcp_agentbus.doctor.shared import probe
from mcp_agentbus.errors import AgentbusError, BusUnreachable, NoListener
from mcp_agentbus.handoff import inbox, lookup, results, send
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.human import outlook
from mcp_agentbus.human.tap import TIME_LIMIT_S
from mcp_agentbus.listener.carried import outside
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.registered import forgotten

#: What is left of a task whose test was killed goes by itself after this time.
_EXPIRES_S: Final = 600
# Less than the stage may take, so that it is the answer which says that nothing came.
_SEEN_S: Final = 5.0
# A host that was started, and its model, may take their time.
_WOKEN_S: Final = 120.0
# The last that a listener writes of a wake that succeeded.
_WAKE_ENDS: Final = frozenset({"woken"})
_SUBJECT: Final = "agentbus self-test"
_BODY: Final = (
    "This task tests the bus. There is nothing to be done: call publish_result with status "
    "completed and the summary ok."
)


async def send_round(
    settings: Settings, *, wake: str | None, as_json: bool, out: Out, faults_only: bool = False
) -> int:
    """Send a task through the bus and its result back; return 0 if it came through, else 1.

    Args:
        settings: the user's own; its server must run, this does not start it.
        wake: an agent of the configuration that the task is for, so that it is really started.
        as_json: print one object with all stages at the end.
        out: takes what is to be printed.
        faults_only: print of the stages only those that fail.
    """
    show = partial(tell, out=out, faults_only=faults_only)
    stages = Stages((lambda _: None) if as_json else show)
    sender = probe.sender(settings)
    worker = wake or f"{sender}{ids.PROBED}"
    try:
        await stages.take("server", _server(settings), "Without a server no task can be stored.")
        ours = [sender] if wake else [sender, worker]
        async with probe.alone(settings), _bus(settings, stages, *ours) as bus:
            play = _woken if wake else _made_up
            await play(stages, bus, sender, worker)
        if settings.human.is_told:
            means = "You are not told what needs you."
            await stages.take("human", _told(settings), means, within_s=TIME_LIMIT_S + 1)
    except Stopped:
        pass
    if as_json:
        data = {"ok": not stages.failed, "stages": [asdict(stage) for stage in stages.done]}
        out(spelled(data))
    else:
        out(last_line(stages))
    return int(bool(stages.failed))


async def _told(settings: Settings) -> str:
    tapped = await outlook.test(settings)
    if not tapped.is_told:
        raise AgentbusError(tapped.said, hint="Correct [human] in config.toml, then try again.")
    return outlook.test_text(tapped)


async def _server(settings: Settings) -> str:
    if settings.url:
        async with Bus.connect(settings):
            return f"shared server {settings.url}"
    server = await asyncio.to_thread(embedded.find, settings)
    if not server:
        if away := await asyncio.to_thread(embedded.absence, settings):
            raise outside.beside(away, settings)
        # Not started here: whoever has stopped it is to hear that it does not run.
        raise BusUnreachable("The server is not running.", hint="Run `agentbus server start`.")
    return f"runs at {server.url}"


@asynccontextmanager
async def _bus(settings: Settings, stages: Stages, *ours: str) -> AsyncGenerator[Bus, None]:
    """Open the bus; take our agents and all that they stored off it at the end."""
    async with Bus(settings) as bus:
        whole = True
        try:
            yield bus
        except BaseException:  # stopped by what it found, or by who has started it
            # Another's agent may still hold a task of ours, and must read that it was withdrawn.
            whole = len(ours) > 1
            raise
        finally:
            if settings.account:
                stay = "stays" if len(ours) == 1 else "stay"
                said = f"{' and '.join(ours)} {stay} on the bus, for the next test of this account"
                stages.add(Stage("cleanup", "ok", 0, said))
            else:
                with suppress(Stopped):
                    means = "may stay in `agentbus agents`; nothing else is harmed."
                    sent = any((each.name, each.state) == ("send", "ok") for each in stages.done)
                    work = _forget(bus, ours, whole=whole, sent=sent)
                    await stages.take("cleanup", work, f"{' and '.join(ours)} {means}")


async def _made_up(stages: Stages, bus: Bus, sender: str, worker: str) -> None:
    """Play both agents, sender and worker, in this process."""
    about = "agentbus doctor's" if bus.settings.account else "self-test, goes by itself"
    async with (
        Session(bus, Agent(sender, description=about)) as planner,
        Session(bus, Agent(worker, description=about)) as coder,
        AsyncExitStack() as stack,
    ):
        await stages.take(
            "register",
            _registered(planner, coder),
            "The server answers, but its streams cannot be used.",
        )
        member = await _joined(stages, stack, planner, coder)
        task_id = await _sent(stages, planner, worker)
        await stages.take("stored", _stored(bus, worker, sender), "A receipt was not true.")
        if member:
            with suppress(Stopped):  # without a notice the task is found at the next look
                means = "The listener runs, but a stored task does not stir it."
                await stages.take("heard", _heard(member, planner, task_id), means)
        await stages.take("claim", _claimed(coder, task_id), "The worker did not get the task.")
        await stages.take(
            "result", _published(coder, task_id), "The worker's result was not stored."
        )
        await stages.take("seen", _seen(planner, task_id), "The sender does not see the result.")
        stages.add(_no_wake(bus.settings))


def _no_wake(settings: Settings) -> Stage:
    """Say that no agent was started, and how to have one started."""
    untested = "whether an agent without a session is started was not tested: that takes its host"
    rules = sorted(settings.rules.items())
    woken = ", ".join(agent for agent, each in rules if each.profile != "hold")
    fix = "Add one first: agentbus agent add ID --host HOST --dir FOLDER"
    return Stage(
        "wake",
        "skipped",
        0,
        untested,
        f"Give --wake AGENT. {f'You have {woken}.' if woken else fix}",
    )


async def _registered(*sessions: Session) -> str:
    for session in sessions:
        await session.called()
        await session.can_read()
    return " and ".join(session.me.id for session in sessions)


async def _joined(
    stages: Stages, stack: AsyncExitStack, planner: Session, coder: Session
) -> Member | None:
    """Have a listener, if one is to be had, know both; return the worker as it knows it."""
    began = time.perf_counter()
    settings = coder.bus.settings
    try:
        async with asyncio.timeout(check.STAGE_S):
            how = await listener(settings)
        await stack.enter_async_context(joined(settings, planner, can_nudge=False))
        member = await stack.enter_async_context(joined(settings, coder, can_nudge=True))
        with suppress(TimeoutError):  # then the stage `heard` tells
            async with asyncio.timeout(check.STAGE_S):
                await _on_roster(coder)
    except NoListener as error:
        why = "no listener runs, so no wake was tested"
        stages.add(Stage("listener", "skipped", since(began), why, error.hint))
    except (OSError, ValueError, AgentbusError) as error:
        why = "the listener did not take the sessions"
        if isinstance(error, AgentbusError):
            why += f": {error.message}"
        fix = "Nobody is woken. Run `agentbus listen --replace`."
        stages.add(Stage("listener", "failed", since(began), why, fix))
    else:
        stages.add(Stage("listener", "ok", since(began), f"{how}, and knows both"))
        return member
    return None


async def _on_roster(session: Session) -> None:
    """Wait until the roster shows that a listener looks after an agent, as receipts tell."""
    while True:
        entry = await roster.look(session.bus, session.me.id)
        if entry and entry.holds:
            return
        await asyncio.sleep(LOOK_AGAIN_S)


async def _sent(stages: Stages, sender: Session, worker: str) -> str:
    """Send the task; return its id."""
    task_id = ""

    async def stored() -> str:
        nonlocal task_id
        [receipt] = await send.send_task(
            sender, worker, _SUBJECT, _BODY, priority="high", expires_in_s=_EXPIRES_S
        )
        task_id = receipt.task_id
        why = f" ({receipt.reason})" if receipt.reason else ""
        return f"{receipt.state} as task {receipt.task_id} for {worker}, wake {receipt.wake}{why}"

    await stages.take("send", stored(), "The server did not take the task.")
    return task_id


async def _stored(bus: Bus, worker: str, sender: str) -> str:
    task = await bus.last(subjects.TASKS, subjects.task_subject(worker, "high", sender))
    if task is None:
        raise AgentbusError("The stream does not hold the task.")
    return f"the stream {subjects.TASKS} holds it, sequence {task.seq}"


async def _heard(member: Member, sender: Session, task_id: str) -> str:
    """Wait for the notice, and until the listener has written all that it writes of it.

    What it writes after the cleanup would stay on the user's bus.
    """
    how = await member.notice()
    await _lived(sender, task_id, _WAKE_ENDS)
    return how


async def _claimed(worker: Session, task_id: str) -> str:
    tasks = await inbox.read_inbox(worker)
    if task_id not in worker.claims:
        why = f" {tasks.degraded}" if tasks.degraded else ""
        raise AgentbusError(f"read_inbox did not return it.{why}")
    return f"{worker.me.id} holds it"


async def _published(worker: Session, task_id: str) -> str:
    published = await results.publish_result(worker, task_id, "completed", summary="ok")
    return f"{worker.me.id} published it: {published.state}"


async def _seen(sender: Session, task_id: str) -> str:
    came = await inbox.watch_inbox(sender, task_id=task_id, timeout_s=_SEEN_S)
    if not any(result.task_id == task_id for result in came.results):
        raise AgentbusError("watch_inbox did not return it.")
    await sender.outcomes.confirm()
    return f"{sender.me.id} has read it"


async def _woken(stages: Stages, bus: Bus, sender: str, worker: str) -> None:
    """Play the sender, and have an agent of the configuration be woken and answer."""
    async with Session(bus, Agent(sender)) as planner, AsyncExitStack() as stack:
        await stages.take("register", _registered(planner), "The streams cannot be used.")
        await stages.take(
            "listener", _looked_after(planner, worker, stack), "Nothing would wake it."
        )
        task_id = await _sent(stages, planner, worker)
        try:
            for name, steps, means in (
                ("wake", {"waking", *_WAKE_ENDS}, "The listener did not wake it."),
                ("claim", {"claimed"}, "It was woken, but did not read this task."),
                ("result", {"completed"}, "It did not finish."),
                ("ended", _WAKE_ENDS, "What was started did not end well."),
            ):
                work = _lived(planner, task_id, steps)
                await stages.take(name, work, means, within_s=_WOKEN_S, then=_see(worker))
            await stages.take("seen", _seen(planner, task_id), "The result does not come back.")
        finally:
            with suppress(AgentbusError):  # it has ended
                await results.publish_result(planner, task_id, "cancelled")


def _see(worker: str) -> str:
    return f"See `agentbus agent wakes {worker}`."


async def _looked_after(planner: Session, worker: str, stack: AsyncExitStack) -> str:
    settings = planner.bus.settings
    rules = settings.rules.get(worker)
    if rules is None or rules.profile == "hold":
        again = " --replace" if worker in settings.agents else ""
        how = f"--wake {least_profile(rules.host)}" if rules else "--host HOST --dir FOLDER"
        raise AgentbusError(
            f"{worker} is no agent that its user allows to be started.",
            hint=f"Run `agentbus agent add {worker}{again} {how}`.",
        )
    how = await listener(settings)
    if lacked := await in_thread(with_login, settings, rules.host):
        how = f"was started anew, as it lacked {lacked}"
    await stack.enter_async_context(joined(settings, planner, can_nudge=False))
    return f"{how}, and may start {worker} ({rules.host}, {rules.profile})"


async def _lived(planner: Session, task_id: str, steps: Collection[str]) -> str:
    """Wait until one of these steps is in the life of a task."""
    while True:
        for step in (await lookup.task_life(planner, task_id)).history:
            if step.state in steps:
                return f"{step.state} by {step.by}" + (f": {step.reason}" if step.reason else "")
            if step.state in {"wake-held", "wake-failed"} and "completed" not in steps:
                raise AgentbusError(f"{step.state}: {step.reason}.", hint=_see(step.by))
            if step.state in {"failed", "rejected", "needs_approval", "parked", "expired"}:
                raise AgentbusError(f"{step.by} ended it as {step.state}.", hint=_see(step.by))
        await asyncio.sleep(LOOK_AGAIN_S)


async def _forget(bus: Bus, agents: Sequence[str], *, whole: bool, sent: bool) -> str:
    """Take agents off the server, and, if `whole`, all that was stored for and by them.

    Args:
        bus: the server.
        agents: who is taken off it.
        whole: with all that was stored for and by them.
        sent: a task was, which is told of where it stays.

    Raises:
        AgentbusError: the server does not answer, or does not allow it.
    """
    # One that went away meanwhile is not started for this.
    if not await bus.reconnected(1):
        start = "" if bus.settings.url else "Run `agentbus server start`."
        raise BusUnreachable("The server has gone.", hint=start)
    for agent in agents:
        for stream in streams.STREAMS if whole else (subjects.AGENTS, subjects.PRESENCE):
            purge = {"filter": subjects.everything_of(agent)}
            await forgotten.remove(bus, f"STREAM.PURGE.{stream}", purge)
        lanes = [(subjects.TASKS, subjects.lane_consumer(agent, lane)) for lane in ids.LANES]
        own = [
            (subjects.RESULTS, subjects.results_consumer(agent)),
            (subjects.RESULTS, subjects.sent_consumer(agent)),
        ]
        for stream, consumer in (*lanes, *own):
            await forgotten.remove(bus, f"CONSUMER.DELETE.{stream}.{consumer}")
    are = "is" if len(agents) == 1 else "are"
    left = "" if whole or not sent else "; the task was withdrawn, and its record stays for 30 days"
    return f"{' and '.join(agents)} {are} off the bus again{left}"
