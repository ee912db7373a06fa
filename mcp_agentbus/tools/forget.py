# SPDX-License-Identifier: Apache-2.0
"""An agent that is forgotten: in the book, in config.toml, on the roster.

    >>> await forget(bus, "agent-claude-1f3a")

What waits for it is looked for first, and what it has sent and is kept here: neither may be lost.
"""

from __future__ import annotations

from contextlib import suppress

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict
from mcp_agentbus.config import names
from mcp_agentbus.config.changes import editor
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids
from mcp_agentbus.core.text import many
from mcp_agentbus.errors import BusUnreachable, NotAllowed, Refused, UnknownAgent
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.outbox.outbox import Envelope, read_outbox
from mcp_agentbus.store.registered import forgotten
from mcp_agentbus.store.subjects import PRESENCE, SCHEDULE, TASKS
from mcp_agentbus.tools.answers import words


async def see_known(bus: Bus, agent: str) -> None:
    """See that the roster, the book or config.toml has an agent of that name; it need not live.

    Raises:
        UnknownAgent: none does.
        BadSetup: the book cannot be read.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    await streams.ensure_streams(bus)
    here = {*names.read(bus.settings).names, *bus.settings.agents}
    if agent not in here and agent not in await roster.registered(bus):
        raise UnknownAgent(f"No agent {agent!r} is known.", hint="`agentbus agents` lists them.")


async def forget(bus: Bus, agent: str, *, distrusts: bool = False) -> bool:
    """Forget an agent: in the book, in config.toml, on the roster.

    Args:
        bus: where it is known.
        agent: its id.
        distrusts: whoever has the name next is somebody else, and is to be no sender whom this user
            has named. Returns whether it was one.

    Raises:
        UnknownAgent: there is none.
        Refused: tasks wait for it, a session of it is open, or what it has sent is kept here.
        BadSetup: the book or config.toml cannot be written.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    settings = bus.settings
    await see_known(bus, agent)
    if count := await count_waiting(bus, agent):
        raise Refused(
            f"{many(count, 'task')} for {agent} {'have' if count != 1 else 'has'} no end "
            "yet. Nothing was forgotten.",
            hint=f"Have them done (agentbus inbox --agent {agent}), give them another agent "
            f"(agentbus agent rename {agent} NAME), or reject them: agentbus clear --agent {agent}",
        )
    await see_handed_on(settings, agent)
    if await roster.live_sessions(bus, agent):
        raise Refused(
            f"A session of {agent} is open. Nothing was forgotten.", hint="End it, then try again."
        )
    # Before all that says that it is known: where this cannot be written, the same again can be.
    was_named = distrusts and editor.distrust(settings, agent) is not settings
    if agent in settings.agents:
        editor.remove(settings, agent)
    with names.writing(settings) as book:
        book.names.pop(agent, None)
    await take_off_roster(bus, agent)
    return was_named


async def roles_left(bus: Bus, agent: str) -> tuple[dict[str, int], str]:
    """Return how many tasks wait for each role that nobody else has, if any do; and as a sentence.

    Raises: as `see_known`.
    """
    await see_known(bus, agent)
    known = await roster.everybody(bus)
    here = bus.settings.agents.get(agent)
    its = {role for each in known if each.id == agent for role in each.roles}
    its |= set(here.roles if here else ())
    its -= {role for each in known if each.id != agent for role in each.roles}
    left = {}
    for role in sorted(its):
        with suppress(NotAllowed):  # nor does it read those of a role that it was not granted
            left[role] = await count_waiting(bus, f"{ids.ROLE_PREFIX}{role}")
    left = {role: count for role, count in left.items() if count}
    counts = [f"{many(count, 'task')} of {ids.role_address(role)}" for role, count in left.items()]
    lost = f" {', '.join(counts)}: nobody reads that until another agent has the role."
    return left, lost if left else ""


async def is_wanted(bus: Bus, agent: str) -> bool:
    """Tell whether `forget` would refuse, as far as that is seen without a server being started.

    Raises: as `Bus.publish`.
    """
    with suppress(BusUnreachable):
        if await _kept_here(bus.settings, agent, may_start=False):
            return True
    return bool(await count_waiting(bus, agent) or await roster.live_sessions(bus, agent))


async def see_handed_on(settings: Settings, agent: str) -> None:
    """See that nothing that an agent has sent is kept here: its bus would get it by that name.

    Raises:
        Refused: something is.
        BusUnreachable: that cannot be seen.
    """
    ours = await _kept_here(settings, agent)
    if not ours:
        return
    are, live = "is" if len(ours) == 1 else "are", [each for each in ours if not each.is_over]
    hint = "Once the listener has handed that on, do it again."
    if live:
        hint += (
            " `agentbus status` says why it waits. To withdraw one: agentbus result "
            f"{live[0].task.id} cancelled --agent {agent}"
        )
    raise Refused(
        f"{many(len(ours), 'task')} that {agent} has sent {are} {words.HERE}, where it would "
        "be known again by that. Nothing was changed.",
        hint=hint,
    )


async def _kept_here(settings: Settings, agent: str, *, may_start: bool = True) -> list[Envelope]:
    """Return what an agent has sent that is kept here; of what was withdrawn its bus is told."""
    keeps = settings.keeps_outbox
    waits = await read_outbox(settings, may_start=may_start, with_over=True) if keeps else ()
    return [each for each in waits if each.is_ours and each.task.sender == agent]


async def take_off_roster(bus: Bus, agent: str) -> None:
    """Take an agent off the roster, with the consumers of its inbox; records stay for 30 days."""
    with suppress(Conflict):  # it is registered anew
        await forgotten.forget(bus, agent)
    signs = {"filter": subjects.heartbeat_subject(agent, "*")}
    await forgotten.remove(bus, f"STREAM.PURGE.{PRESENCE}", signs)
    for lane in ids.LANES:
        await forgotten.remove(
            bus, f"CONSUMER.DELETE.{TASKS}.{subjects.lane_consumer(agent, lane)}"
        )


async def count_waiting(bus: Bus, agent: str) -> int:
    """Return how many tasks are stored for an agent and have no end, held ones included."""
    count = 0
    for stream, places in inbox_places(agent):
        async for page in bus.stored(stream, places):
            count += len(page)
    return count


def inbox_places(agent: str) -> tuple[tuple[str, str], ...]:
    """Return the streams in which tasks for an agent wait, and their subjects there."""
    return (
        (TASKS, subjects.task_subject(agent, "*", "*")),
        (SCHEDULE, subjects.scheduled_subject(agent, "*", "*", "*")),
    )
