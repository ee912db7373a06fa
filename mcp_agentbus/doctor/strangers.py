# SPDX-License-Identifier: Apache-2.0
"""What other programs have put where agentbus keeps its tasks, and what is in the way there.

    >>> await checks(settings)
    [Check(name='schedules', state='warning', said='1 schedule of another program ...'), ...]

Of a server without any of it nothing is said. Looking never starts a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids
from mcp_agentbus.core.text import many, minute
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.doctor.shared import account
from mcp_agentbus.doctor.stored.mends import FIX, asks, named, others
from mcp_agentbus.errors import Refused
from mcp_agentbus.installers.steps import Step
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.queries import consumers, read_back
from mcp_agentbus.store.upkeep import anothers, copiers, due, foreign, lost
from mcp_agentbus.store.upkeep.foreign import Changed

_GONE: Final = "the tasks that waited there before are lost, and end as failed when senders look"
# What went with a stream that was lost, of those that keep something.
_LOST: Final = {
    subjects.TASKS: _GONE,
    subjects.SCHEDULE: _GONE,
    subjects.RESULTS: "what was kept there of earlier tasks is lost, unread results too; tasks "
    "that wait are read as before, and a result of theirs comes as UNASKED",
    subjects.DEAD: "the tasks that were parked there are lost; their senders know of each that it "
    "was set aside",
    subjects.AGENTS: "agents of before cannot be sent to until a session of theirs calls, or the "
    "listener that looks after them has registered them",
}
_REGISTERED: Final = (
    "A listener does so within a minute for those that it can start. Of the others, have a session "
    "call a tool once."
)


async def checks(settings: Settings) -> list[Check]:
    """See what is there that agentbus has not made; empty where no server runs.

    Raises:
        AgentbusError: that cannot be found out.
    """
    if settings.account:
        return [Check("strangers", "ok", account.NOT_HERE)]
    async with Bus(settings) as bus:
        if not await bus.reconnected(0):
            return []
        found = await foreign.look(bus)
        if theirs := [each.name for each in found.changed if each.is_anothers]:
            return [_anothers(theirs)]
        changed = [*_in_place(bus, found.in_place), *_streams(bus, found.changed)]
        if found.missing:  # nobody has called yet, or can
            return changed
        # One after the other, and none begun that is not waited for, should one before it fail.
        looks = (_schedules, _kept_back, _consumers, _copies, _losses)
        return [*changed, *[check for look in looks for check in await look(bus)]]


def _anothers(names: Sequence[str]) -> Check:
    """Name the streams of our names that another program uses, which is not to be kept from it."""
    said = f"another program has {', '.join(sorted(names))} on this server; nothing is stored there"
    return Check("streams", "wrong", said, f"Have agentbus use {anothers.ROOM}.")


def _in_place(bus: Bus, in_place: Sequence[str]) -> list[Check]:
    """Name the streams that are there instead of some of ours."""
    if not in_place:
        return []
    names = others(in_place)
    said = f"streams of another program are in the place of agentbus's: {names}; nothing is stored"
    what = f"remove the streams {names}, with what they hold, and make agentbus's"
    mend = Step(what, asks(bus.settings, partial(_displace, in_place)))
    return [Check("streams", "wrong", said, FIX, mend)]


async def makes(settings: Settings) -> Step | None:
    """Return the step that makes the streams that are missing.

    None where others' are in the place of some, which is told of by itself; and for an account,
    whose gate makes them.
    """
    if settings.account:
        return None
    async with Bus(settings) as bus:
        if not await bus.reconnected(0) or not (found := await foreign.look(bus)).missing:
            return None
        names = ", ".join(found.missing)
        step = Step(f"make the streams {names}", asks(settings, streams.ensure_streams))
        is_anothers = any(each.is_anothers for each in found.changed)
        return None if found.in_place or is_anothers else step


async def _displace(names: Sequence[str], bus: Bus) -> None:
    for name in names:
        await bus.api(f"STREAM.DELETE.{name}")
    await streams.ensure_streams(bus)


def _streams(bus: Bus, changed: Sequence[Changed]) -> list[Check]:
    """Name the streams that somebody has set up otherwise."""
    if not changed:
        return []
    names = named(f"{each.name} ({', '.join(each.settings)})" for each in changed)
    if all(each.is_newer for each in changed):
        said = f"a later version of agentbus has set up how the bus keeps messages: {names}"
        fix = "Upgrade this one. If nobody here has a later one, run `agentbus doctor --fix`."
    else:
        said = f"another program has changed how the bus keeps messages: {names}"
        fix = FIX
    mend = Step("set the streams up anew; they keep what they hold", asks(bus.settings, _reset))
    return [Check("streams", "wrong", said, fix, mend)]


async def _reset(bus: Bus) -> None:
    await streams.ensure_streams(bus, newer=True)
    if left := (await foreign.look(bus)).changed:
        names = ", ".join(each.name for each in left)
        raise Refused(
            f"The server does not let {names} be set up anew. What is stored there can be read.",
            hint="Stop the bus, move its folder away, and start it: it begins with none.",
        )


async def _schedules(bus: Bus) -> list[Check]:
    """Name the schedules that would fill an inbox."""
    everything = subjects.scheduled_subject("*", "*", "*", "*"), subjects.due_subject("*", "*", "*")
    repeating = [
        message
        for subject in everything
        async for page in bus.stored(subjects.SCHEDULE, subject)
        for message in page
        if subjects.H_SCHEDULE in message.headers and read_back.is_repeating(message.headers)
    ]
    if not repeating:
        return []
    who = named(f"agent {_sender(each)}" for each in repeating)
    put = "puts" if len(repeating) == 1 else "put"
    said = (
        f"{many(len(repeating), 'schedule')} of another program {put} messages into inboxes again "
        f"and again, in the name of {who}; no reader is offered them"
    )
    what = f"remove what repeats in {subjects.SCHEDULE} in the name of {who}"
    mend = Step(what, asks(bus.settings, partial(_unschedule, repeating)))
    return [Check("schedules", "warning", said, FIX, mend)]


async def _unschedule(messages: Sequence[Found], bus: Bus) -> None:
    for each in messages:
        # By number: a subject may hold a wildcard.
        await bus.api(f"STREAM.MSG.DELETE.{subjects.SCHEDULE}", {"seq": each.seq})


async def _kept_back(bus: Bus) -> list[Check]:
    """Name the task that has fallen due and keeps all back that falls due after it."""
    kept_back = await due.in_the_way(bus)
    if not kept_back:
        return []
    pair = (kept_back.sender, kept_back.inbox)
    who = " to ".join(each if ids.is_inbox(each) else "nobody" for each in pair)
    said = (
        f"what has fallen due of {who} cannot be put into its inbox, as {kept_back.why}, and keeps "
        "back all scheduled tasks of everybody"
    )
    what = f"remove from {subjects.SCHEDULE} what has fallen due of {who}, which ends as failed"
    mend = Step(what, asks(bus.settings, partial(due.let_go, kept_back=kept_back)))
    fix = "A listener does so within half a minute. Run `agentbus doctor --fix` to do it now."
    return [Check("schedules", "wrong", said, fix, mend)]


async def _consumers(bus: Bus) -> list[Check]:
    """Name the consumers that take what agents would read."""
    strange = [name for name, _ in await consumers.strange_consumers(bus, subjects.TASKS)]
    if not strange:
        return []
    names = others(strange)
    said = (
        f"consumers of another program on {subjects.TASKS}: {names}; a work queue lets nobody else "
        "read what they take"
    )
    what = f"remove the consumers {names} from {subjects.TASKS}"
    mend = Step(what, asks(bus.settings, partial(_remove, strange)))
    return [Check("consumers", "wrong", said, FIX, mend)]


async def _copies(bus: Bus) -> list[Check]:
    """Name the streams into which the server copies tasks. What it copies by is not ours to end."""
    found = await copiers.look(bus, subjects.TASKS)
    if not found.owners:
        return []
    owners = sorted(set(found.owners.values()))
    names = others(owners)
    said = (
        f"streams of another program copy {subjects.TASKS}: {names}; a task for an agent that has "
        "never read, or not for a day, goes into the copy and not into its inbox"
    )
    elsewhere = "" if found.here.issuperset(owners) else ", maybe in another account,"
    fix = f"Have whoever made them{elsewhere} end that. To keep track, copy {subjects.RESULTS}."
    return [Check("consumers", "wrong", said, fix)]


async def _losses(bus: Bus) -> list[Check]:
    """Tell of a stream that was made anew, without what it had held."""
    made = await lost.made_at(bus, tuple(_LOST))
    first = min(made.values())
    losses = {
        name: f"{name} was made anew on {minute(at.isoformat())}, after the streams beside it: "
        f"{what}"
        for (name, what), at in zip(_LOST.items(), made.values(), strict=True)
        if lost.is_anew(at, first)
    }
    agents = losses.pop(subjects.AGENTS, "")
    found = [("; ".join(losses.values()), "Send again what is still wanted.")] if losses else []
    if agents and not await _all_registered(bus):
        found.append((agents, _REGISTERED))
    return [Check("losses", "warning", said, fix) for said, fix in found]


async def _all_registered(bus: Bus) -> bool:
    """Tell whether all agents that are set up here are there again; without any nobody knows."""
    mine = bus.settings.agents.keys()
    return bool(mine) and mine <= await roster.registered(bus)


async def _remove(names: Sequence[str], bus: Bus) -> None:
    for name in names:
        await bus.api(f"CONSUMER.DELETE.{subjects.TASKS}.{name}")


def _sender(message: Found) -> str:
    _, _, rest = subjects.parts(message.subject)
    return rest[1] if len(rest) > 1 and ids.is_inbox(rest[1]) else "nobody"
