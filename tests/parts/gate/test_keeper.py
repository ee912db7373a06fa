# SPDX-License-Identifier: Apache-2.0
"""A gate's book goes by what the bus has, and forgets nothing that one server alone does not know."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from mcp_agentbus.bus.replies import ApiError, Found
from mcp_agentbus.core import aio
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.gate.book import Registration
from mcp_agentbus.gate.keeper import Keeper
from mcp_agentbus.shared.accounts.record import AccountRecord, encoded

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


class Away:
    """A bus that is away."""

    def __init__(self):
        self.looks = 0
        self.heard = []

    @asynccontextmanager
    async def subscribed(self, subject, *_, **__):
        self.heard.append(subject)
        try:
            yield True
        finally:
            self.heard.remove(subject)

    async def stored(self, *_):
        self.heard_at_look = len(self.heard)
        raise BusUnreachable
        yield

    async def api(self, *_):
        self.looks += 1
        raise BusUnreachable


async def test_a_look_that_fails_is_told_to_who_asked_and_made_again_for_the_next():
    bus, failed = Away(), len(aio.failures)
    keeper = Keeper(bus)

    for _ in range(2):
        with pytest.raises(BusUnreachable):
            await keeper.look_up(["coder"])

    assert bus.looks == 2
    assert len(aio.failures) == failed


async def test_what_a_keeper_hears_ends_where_its_first_look_fails():
    bus = Away()

    with pytest.raises(BusUnreachable):
        async with Keeper(bus):
            pytest.fail("it has read nothing")

    assert (bus.heard_at_look, bus.heard) == (2, [])


class Lagging:
    """A bus one of whose servers has stored nothing yet, and whose leader knows one registration."""

    async def stored(self, *_, **__):
        yield []

    async def api(self, call, body=None):
        if call.startswith("STREAM.INFO."):
            return {"state": {"last_seq": 0}}
        if body != {"last_by_subj": "agentbus.coder.profile"}:
            raise ApiError(10037)
        profile = b64encode(json.dumps({"account": "vps"}).encode()).decode()
        found = {"seq": 4, "time": "2026-11-27T10:00:00Z", "data": profile}
        return {"message": {"subject": "agentbus.coder.profile", **found}}


async def test_an_agent_is_forgotten_that_the_leader_does_not_know_and_no_other():
    keeper = Keeper(Lagging())
    for agent in ("coder", "gone"):
        keeper.book.note_agent(agent, Registration("vps", (), (), 4))

    await keeper.look_up(["role-review"])  # which reads all

    assert (keeper.book.owner("coder"), keeper.book.owner("gone")) == ("vps", "")


class Accounts:
    """A bus on which an account is removed while all of them are read, or was removed before."""

    def __init__(self, keeper_of):
        self.records = [self._record(3, "joined")]
        self.keeper, self.read = keeper_of(self), None

    def _record(self, seq, state):
        record = AccountRecord(name="laptop", key="", state=state, joined_at=NOON, since=NOON)
        return Found(record.subject, seq, NOON, {}, encoded(record))

    def remove(self):
        self.records.append(self._record(4, "removed"))

    async def stored(self, stream, *_, **__):
        if stream != "AGENTBUS_ACCOUNTS":
            yield []
            return
        page = [self.records[-1]]
        if self.read:
            await self.read()
        yield page

    async def api(self, call, body=None):
        if call.startswith("STREAM.INFO."):
            return {"state": {"last_seq": 0}}
        last = self.records[-1]
        found = {
            "seq": last.seq,
            "time": "2026-11-27T12:00:00Z",
            "data": b64encode(last.data).decode(),
        }
        return {"message": {"subject": last.subject, **found}}


async def test_an_account_that_is_removed_while_all_are_read_stays_removed():
    """It was in again for half a minute."""
    bus = Accounts(Keeper)

    async def removed():
        bus.remove()
        await bus.keeper.look_up((), "laptop")

    await bus.keeper.look_up(["role-review"])
    assert bus.keeper.book.is_in("laptop")
    bus.read = removed
    bus.keeper._looked_up.clear()
    await bus.keeper.look_up(["role-review"])

    assert not bus.keeper.book.is_in("laptop")


async def test_an_account_that_is_to_be_cut_off_and_is_removed_already_is_known_as_that():
    bus = Accounts(Keeper)
    await bus.keeper.look_up((), "laptop")
    bus.remove()
    await bus.keeper.cut_off("laptop")

    assert not bus.keeper.book.is_in("laptop")
