# SPDX-License-Identifier: Apache-2.0
"""A gate's book goes by what the bus has, and forgets nothing that one server alone does not know."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager

import pytest

from mcp_agentbus.bus.replies import ApiError
from mcp_agentbus.core import aio
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.gate.book import Known
from mcp_agentbus.gate.keeper import Keeper


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
        profile = base64.b64encode(json.dumps({"account": "vps"}).encode()).decode()
        found = {"seq": 4, "time": "2026-11-27T10:00:00Z", "data": profile}
        return {"message": {"subject": "agentbus.coder.profile", **found}}


async def test_an_agent_is_forgotten_that_the_leader_does_not_know_and_no_other():
    keeper = Keeper(Lagging())
    for agent in ("coder", "gone"):
        keeper.book.note_agent(agent, Known("vps", (), (), 4))

    await keeper.look_up(["role-review"])  # which reads all

    assert (keeper.book.owner("coder"), keeper.book.owner("gone")) == ("vps", "")
