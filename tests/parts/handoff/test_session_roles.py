# SPDX-License-Identifier: Apache-2.0
"""Whose roles a session goes on to read, as its user changes config.toml while it lives."""

from dataclasses import replace

import pytest
from local_server import configured
from session_stand_in import SessionBus

from mcp_agentbus.core.ids import Agent


@pytest.fixture
def bus(tmp_path, monkeypatch):
    return SessionBus(tmp_path / "home", monkeypatch)


async def test_a_role_that_its_user_takes_away_is_read_no_more_and_one_of_another_is(bus, tmp_path):
    configured(tmp_path / "home", '[agents.coder]\nroles = ["qa"]\n')
    coder = Agent("coder", roles=("review", "qa"))
    bus.settings = replace(bus.settings, agents={"coder": coder})
    session = bus.session(me=replace(coder, roles=("review", "qa", "own")))

    session.taking()

    assert session.inboxes == ("coder", "role-qa", "role-own")


async def test_a_role_that_came_after_the_listener_is_read_no_more_once_it_goes(bus, tmp_path):
    home = tmp_path / "home"
    bus.settings = configured(home, "")
    session = bus.session(me=Agent("coder", roles=("review",)))
    for roles in ('["review"]', "[]"):
        configured(home, f"[agents.coder]\nroles = {roles}\n")
        session.taking()

    assert (session.inboxes, session.me.set_up) == (("coder",), True)
