# SPDX-License-Identifier: Apache-2.0
"""What becomes of what the agents of an account have to do that has gone, and of a lost role.

What waits for them ends, and its senders are told; what they hold of a role's is others' to do. A
role that the account has no more goes off the roster.

>>> await give_back_all(bus, "coder", "laptop")
2
>>> await offer_again(bus, {"coder": ("review",)}, "laptop")
1
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import ROLE_PREFIX
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store import subjects
from mcp_agentbus.store.records import Key, Written, record_in, record_key, sent_in, update
from mcp_agentbus.store.registered.profile import Profile, decode_profile
from mcp_agentbus.store.steps import Lost, Same, Step, Write, first_record, next_record, step
from mcp_agentbus.store.task import HELD, Record, Sent, Undecodable
from mcp_agentbus.store.upkeep import removal


async def agents_of(bus: Bus) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return the agents of each account, by its name: the roles of each, by its id.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.many`.
    """
    agents: dict[str, dict[str, tuple[str, ...]]] = {}
    async with aclosing(bus.stored(subjects.AGENTS, subjects.profile_subject("*"))) as pages:
        async for page in pages:
            for message in page:
                with suppress(Undecodable):
                    profile = decode_profile(message)
                    if profile.account and not profile.forgotten:
                        agents.setdefault(profile.account, {})[profile.id] = profile.roles
    return agents


async def give_back_all(bus: Bus, agent: str, account: str) -> int:
    """End what others have sent to an agent and is not over, as rejected; return how many.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    count = 0
    sent_to = subjects.sent_subject("*", agent, "*")
    async with aclosing(bus.stored(subjects.RESULTS, sent_to)) as pages:
        async for page in pages:
            for sent in filter(None, map(sent_in, page)):
                if not (sent.closed or sent.unasked):
                    count += await _rejected(bus, sent, account)
    return count


async def offer_again(bus: Bus, agents: Mapping[str, Collection[str]], account: str) -> int:
    """Have others get what agents hold of their roles; return how many tasks.

    A session of theirs is known to be gone in seconds. A shell is not: its claim lasts two hours.

    Args:
        bus: of which.
        agents: of the account that has gone, by their ids, each with its roles.
        account: its name.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    count = 0
    for role in sorted({role for roles in agents.values() for role in roles}):
        of_role = subjects.record_subject("*", f"{ROLE_PREFIX}{role}", "*")
        async with aclosing(bus.stored(subjects.RESULTS, of_role)) as pages:
            async for page in pages:
                for message in page:
                    count += await _offered(bus, message, agents, account)
    return count


async def _offered(bus: Bus, message: Found, agents: Collection[str], account: str) -> bool:
    reason = f"the account {account}, whose agent held it, was removed from the bus"

    def offered(standing: Record | None) -> Write[Record] | None:
        if standing is None or standing.state not in HELD or standing.agent not in agents:
            return None
        return Write(step(standing, "stored", standing.agent, "", text.now(), reason=reason))

    record = record_in(message)
    if record is None or not offered(record):
        return False
    if not await update(bus, record_key(record.owner, record.inbox, record.task_id), offered):
        return False
    with suppress(AgentbusError):  # who reads looks again by itself, later
        await bus.send(subjects.back_subject(record.inbox), b"", {})
    return True


async def _rejected(bus: Bus, sent: Sent, account: str) -> bool:
    reason = f"the account {account}, whose agent it was for, was removed from the bus"
    rejected = Step(
        "rejected", sent.inbox, first=first_record(sent), changes={"reason": reason}
    )  # fmt: skip

    def ended(standing: Record | None) -> Write[Record] | Same | Lost:
        # Whoever holds it, it holds no more.
        holder = standing.session if standing else ""
        return next_record(standing, replace(rejected, session=holder), text.now())

    outcome = await update(bus, record_key(sent.owner, sent.inbox, sent.task_id), ended)
    with suppress(AgentbusError):  # whoever reads the inbox removes it
        await removal.remove(bus, sent, everywhere=not isinstance(outcome, Lost))
    return isinstance(outcome, Written)


async def take_roles(bus: Bus, account: str, roles: Collection[str]) -> None:
    """Take roles out of the registrations of an account's agents, by which others let them in.

    One that means ill registers anew never again.

    Raises:
        ApiError, BusUnreachable, Unconfirmed, NotAllowed, StoreFull: as `Bus.publish`.
    """

    def without(standing: Profile | None) -> Write[Profile] | None:
        if standing is None or standing.forgotten or standing.account != account:
            return None
        kept = tuple(role for role in standing.roles if role not in roles)
        is_less = kept != standing.roles
        return Write(standing.model_copy(update={"roles": kept})) if is_less else None

    for agent, theirs in (await agents_of(bus)).get(account, {}).items():
        if not set(roles).isdisjoint(theirs):
            await update(bus, _key(agent), without)


async def mark_removed(bus: Bus, account: str, *, removed: bool) -> None:
    """Have the roster say of an account's agents that nobody is them, or take that back.

    Else who sends to them would be told of a session until its last sign of life is old, and then
    that they may come back. What they register anew says it no more.

    Raises: as `take_roles`.
    """

    def marked(standing: Profile | None) -> Write[Profile] | None:
        if standing is None or standing.forgotten or standing.account != account:
            return None
        is_other = standing.removed != removed
        return Write(standing.model_copy(update={"removed": removed})) if is_other else None

    for agent in (await agents_of(bus)).get(account, {}):
        await update(bus, _key(agent), marked)


def _key(agent: str) -> Key[Profile]:
    subject = subjects.profile_subject(agent)
    return Key(subjects.AGENTS, subject, decode_profile, lambda it: it.model_dump_json().encode())
