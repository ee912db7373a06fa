# SPDX-License-Identifier: Apache-2.0
"""What an account has no more is taken off the roster: by that others open an inbox to a role.

>>> await take_roles(bus, "laptop", ["lead"])

An account that means ill registers its agents never again, and would keep there what it had.
"""

from __future__ import annotations

from collections.abc import Collection

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.shared.accounts.giving_back import agents_of
from mcp_agentbus.store.records import Key, update
from mcp_agentbus.store.registered.profile import Profile, decode_profile
from mcp_agentbus.store.steps import Write
from mcp_agentbus.store.subjects import AGENTS, profile_subject


async def take_roles(bus: Bus, account: str, roles: Collection[str]) -> None:
    """Take roles out of the registrations of an account's agents.

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


def _key(agent: str) -> Key[Profile]:
    subject = profile_subject(agent)
    return Key(AGENTS, subject, decode_profile, lambda profile: profile.model_dump_json().encode())
