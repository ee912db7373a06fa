# SPDX-License-Identifier: Apache-2.0
"""What stays on the roster of an agent that its account has forgotten: whose the name is.

    >>> await forget(bus, "coder")
    >>> await account_of(bus, "coder"), await is_left(bus, "coder")
    ('laptop', True)

What is stored by an agent's name is read by whose the name is. So another account has the name only
once nothing of its former agent is left: 30 days after the last of it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, NO_SUCH_STREAM, ApiError
from mcp_agentbus.core import text
from mcp_agentbus.store import subjects
from mcp_agentbus.store.registered.profile import Profile, decode_profile
from mcp_agentbus.store.subjects import AGENTS, DEAD, RESULTS, SCHEDULE, TASKS

# Where a name stands in a subject: first of who reads it, or sent it, then of the other.
_PLACES: Final = (
    (RESULTS, "agentbus.{}.>"),
    (RESULTS, "agentbus.*.*.{}.*"),
    (TASKS, "agentbus.{}.>"),
    (TASKS, "agentbus.*.*.*.{}"),
    (SCHEDULE, "agentbus.{}.>"),
    (SCHEDULE, "agentbus.*.*.*.{}"),
    (SCHEDULE, "agentbus.*.*.*.{}.*"),
    (DEAD, "agentbus.{}.>"),
    (DEAD, "agentbus.*.*.*.{}"),
)


async def forget(bus: Bus, agent: str) -> None:
    """Take an agent off the roster; of one of an account's it stays whose the name is.

    Raises:
        Conflict: it is registered anew at this moment.
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.api`.
    """
    subject = subjects.profile_subject(agent)
    stored = None if bus.settings.account else await bus.last(AGENTS, subject)
    account = decode_profile(stored).account if stored else ""
    if stored and account:
        await bus.replace(AGENTS, subject, kept(agent, account), stored.seq)
    else:  # of what an account asks its gate keeps the name
        await bus.api(f"STREAM.PURGE.{AGENTS}", {"filter": subject})


async def remove(bus: Bus, call: str, body: Mapping[str, Any] | None = None) -> None:
    """Have the server remove what an agent leaves there, unless what had it is gone.

    Raises: as `Bus.api`.
    """
    try:
        await bus.api(call, body)
    except ApiError as error:
        if error.code not in {NO_SUCH_CONSUMER, NO_SUCH_STREAM}:
            raise


def kept(agent: str, account: str) -> bytes:
    """Return what is stored in the place of a registration."""
    said = Profile(id=agent, account=account, forgotten=True, registered_at=text.now())
    return said.model_dump_json(include={"id", "account", "forgotten", "registered_at"}).encode()


async def account_of(bus: Bus, name: str) -> str:
    """Return whose account a name is, also of an agent that was forgotten; empty if nobody's.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.last`.
    """
    stored = await bus.last(AGENTS, subjects.profile_subject(name))
    return decode_profile(stored).account if stored else ""


async def is_left(bus: Bus, agent: str) -> bool:
    """Tell whether the bus keeps anything that an agent has sent, or that was sent to it.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.api`.
    """
    for stream, place in _PLACES:
        wanted = {"subjects_filter": place.format(agent)}
        if (await bus.api(f"STREAM.INFO.{stream}", wanted))["state"].get("subjects"):
            return True
    return False


async def free(bus: Bus, agent: str, revision: int) -> bool:
    """Let anybody have a forgotten agent's name, if nothing is left of it; tell whether.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.api`.
    """
    if await is_left(bus, agent):
        return False
    with suppress(ApiError):  # its account has registered it anew
        await bus.api(f"STREAM.MSG.DELETE.{AGENTS}", {"seq": revision})
    return True
