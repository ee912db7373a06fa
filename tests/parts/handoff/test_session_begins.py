# SPDX-License-Identifier: Apache-2.0
"""What a session begins once, where it takes several tries."""

import pytest
from session_stand_in import SessionBus

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, BusUnreachable
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.queries import consumers


async def test_what_tries_heard_that_failed_is_heard_once_after_the_next(tmp_path, monkeypatch):
    bus = SessionBus(tmp_path / "home", monkeypatch)

    async def fails(*_):
        raise BusUnreachable

    session = bus.session(hosted="of-claude")
    for broken, name, call in (
        (bus, "ask", session.called), (consumers, "ensure_sender", session.can_read)
    ):  # fmt: skip
        with monkeypatch.context() as failing:
            failing.setattr(broken, name, fails)
            with pytest.raises(BusUnreachable):
                await call()
        await call()

    assert {len(each) for each in bus.heard.values()} == {1}
    await session.close()


@pytest.mark.parametrize(
    ("said", "about"),
    [
        ({"id": "My-Service"}, "is not an agent id"),
        ({"id": "all"}, "is reserved"),
        ({"id": ""}, "is not an agent id"),
        ({"id": None}, "is not an agent id"),
        ({"roles": "code"}, "no tuple of names"),
        ({"roles": None}, "no tuple of names"),
        ({"roles": (5,)}, "no tuple of names"),
        ({"roles": ("role:code",)}, "is not a role name"),
        ({"accept_from": "planner"}, "no tuple of names"),
        ({"description": 5}, "is no text"),
        ({"description": "x" * 301}, "301 characters"),
    ],
)
def test_an_agent_that_breaks_a_rule_is_refused_before_it_is_anybody(said, about):
    with pytest.raises(BadInput, match=about):
        Session(None, Agent(**{"id": "coder", **said}))


@pytest.mark.parametrize("given", [Bus.connect, Bus.ephemeral, lambda: None])
def test_what_opens_a_bus_is_none_yet(given):
    with pytest.raises(BadInput, match="A session needs a Bus, and this is a ") as refused:
        Session(given(), Agent("coder"))

    assert "in a notebook use `Bus()`" in refused.value.hint
