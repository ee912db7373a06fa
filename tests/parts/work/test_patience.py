# SPDX-License-Identifier: Apache-2.0
"""A worker whose bus has a connection and answers nothing: it is not back, and patience ends."""

import logging
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable, Unconfirmed
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.work import command
from mcp_agentbus.work import worker as module
from mcp_agentbus.work.intake import Patience
from mcp_agentbus.work.worker import Worker

_ENOUGH = 50


@contextmanager
def answering(monkeypatch, after):
    """Have the bus answer nobody who claims, until the call of that number; give all calls."""
    calls = []

    async def claim(*_):
        calls.append(1)
        if len(calls) >= _ENOUGH:
            raise LookupError
        if len(calls) < after:
            raise (BusUnreachable, Unconfirmed)[len(calls) % 2]
        return ()

    with monkeypatch.context() as patched:
        patched.setattr(module, "claim_next", claim)
        patched.setattr(module, "claim_waiting", claim)
        yield calls


def said(caplog):
    return [each.message for each in caplog.records if each.name == "mcp_agentbus.work"]


async def never(_):
    pytest.fail("there is no task")


async def test_a_bus_that_answers_nothing_is_given_up_though_it_has_a_connection(
    world, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "mcp_agentbus.work")
    agent, patience = Agent(world.name("coder")), Patience(0.001, 3)
    async with Worker(world.bus, agent, patience=patience) as worker:
        with answering(monkeypatch, _ENOUGH) as calls, pytest.raises(BusUnreachable) as given_up:
            await worker.run(never)

    assert "tried 3 times in vain" in given_up.value.message
    assert len(calls) == 1 + 3
    assert said(caplog) == ["started", "away", "stopped"]


async def test_a_bus_is_back_once_a_call_has_succeeded_and_its_tries_begin_anew(
    world, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "mcp_agentbus.work")
    agent, patience = Agent(world.name("coder")), Patience(0.001, 3)
    async with Worker(world.bus, agent, patience=patience) as worker:
        with answering(monkeypatch, 4), pytest.raises(LookupError):
            await worker.run(never)

    assert said(caplog) == ["started", "away", "back", "stopped"]


@pytest.mark.parametrize(("tries", "asked"), [(3, 3), (1, 1), (0, 1)])
async def test_at_its_start_it_gives_up_after_as_many_tries_as_later(monkeypatch, tries, asked):
    calls = []

    async def take(*_):
        calls.append(1)
        if len(calls) >= _ENOUGH:
            raise LookupError
        raise BusUnreachable

    monkeypatch.setattr(Naming, "take", take)
    monkeypatch.setattr(command, "_asked", lambda *_: None)
    monkeypatch.setattr(command.shells, "agents", lambda _: frozenset())
    plan = SimpleNamespace(settings=None, agent=None)
    with pytest.raises(BusUnreachable):
        await command._named(None, plan, Patience(0, tries))

    assert len(calls) == asked
