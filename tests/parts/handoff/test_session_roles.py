# SPDX-License-Identifier: Apache-2.0
"""Whose roles a session goes on to read, as its user changes config.toml while it lives."""

from dataclasses import replace

import pytest
from local_server import configured
from session_stand_in import SessionBus

from mcp_agentbus.core.ids import LANES, Agent
from mcp_agentbus.store import roster


@pytest.fixture
def bus(tmp_path, monkeypatch):
    return SessionBus(tmp_path / "home", monkeypatch)


async def test_a_role_that_its_user_takes_away_is_read_no_more_and_one_of_another_is(bus, tmp_path):
    configured(tmp_path / "home", '[agents.coder]\nroles = ["qa"]\n')
    coder = Agent("coder", roles=("review", "qa"))
    bus.settings = replace(bus.settings, agents={"coder": coder})
    session = bus.session(me=replace(coder, roles=("review", "qa", "own")))

    session.refreshed()

    assert session.inboxes == ("coder", "role-qa", "role-own")


async def test_a_role_that_came_after_the_listener_is_read_no_more_once_it_goes(bus, tmp_path):
    home = tmp_path / "home"
    bus.settings = configured(home, "")
    session = bus.session(me=Agent("coder", roles=("review",)))
    for roles in ('["review"]', "[]"):
        configured(home, f"[agents.coder]\nroles = {roles}\n")
        session.refreshed()

    assert (session.inboxes, session.me.set_up) == (("coder",), True)


async def test_a_role_that_its_user_gives_it_is_read_from_its_next_read_on_and_heard(bus, tmp_path):
    home = tmp_path / "home"
    bus.settings = configured(home, '[agents.coder]\nroles = ["qa"]\n')
    async with bus.session(me=bus.settings.agents["coder"]) as session:
        await session.called()
        await session.can_read()
        bus.asked_for.clear()
        configured(home, '[agents.coder]\nroles = ["qa", "review"]\n')
        await session.can_read()
        await session.can_read()
        made = [call for call in bus.asked_for if ".role-review_" in call]
        heard = {subject: len(those) for subject, those in bus.heard.items()}

    assert session.inboxes == ("coder", "role-qa", "role-review")
    assert len(made) == len(LANES)
    assert {heard[f"agentbus.{inbox}.back"] for inbox in session.inboxes} == {1}


@pytest.mark.parametrize(
    ("of_api", "said", "told"),
    [
        ("", ("", "Builds."), "Builds."),
        ("Old.", ("Old.", "Builds."), "Builds."),
        ("Old.", ("Old.", ""), ""),
        ("By a program.", ("", ""), "By a program."),
    ],
)
async def test_it_registers_what_its_user_says_of_it_by_now_and_its_roles(
    bus, tmp_path, of_api, said, told
):
    """Else a session that ends took a role off the roster again, and senders were refused."""
    home = tmp_path / "home"
    bus.settings = configured(home, f'[agents.coder]\ndescription = "{said[0]}"\n')
    async with bus.session(me=Agent("coder", description=of_api, roles=("own",))) as session:
        await session.called()
        configured(home, f'[agents.coder]\ndescription = "{said[1]}"\nroles = ["review"]\n')

    registered = await roster.registration(bus, "coder")
    assert (registered.description, registered.roles) == (told, ("review", "own"))
