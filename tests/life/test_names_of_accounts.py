# SPDX-License-Identifier: Apache-2.0
"""Names where several machines are on one bus, each an account: a folder's is found by itself."""

import asyncio
from dataclasses import replace

import pytest
from gated import gated, ungated

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import names
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.config.spelling import plain_name
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NameTaken
from mcp_agentbus.handoff import agents
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.tools.answers import documents


class Machine:
    """A user's machine, with sessions in its folders."""

    def __init__(self, settings, folder):
        self.settings, self._folder = settings, folder
        folder.mkdir()

    def naming(self, folder="shop", *, host=True, given=None):
        environ = {**self.settings.environ, **({"CLAUDECODE": "1"} if host else {})}
        where = self._folder / folder
        where.mkdir(exist_ok=True)
        settings = replace(self.settings, environ=environ)
        return Naming(Asked(settings, given, where, is_persons=not host))

    async def is_called(self, *typed, **how):
        """Have a session call a tool; return its agent's name, and what its user is told."""
        naming = self.naming(*typed, **how)
        async with Bus(self.settings) as bus, Session(bus, Agent(""), naming=naming) as session:
            remarks = await session.take_name()
            await session.called()
            return session.me.id, " ".join(remarks)


async def test_a_folder_and_a_person_get_a_free_name_where_another_account_has_theirs(tmp_path):
    me = plain_name()
    async with gated(tmp_path, laptop=[], vps=[], pi=[]) as shared:
        vps, laptop = (
            Machine(shared.settings(name), tmp_path / name) for name in ("vps", "laptop")
        )
        assert await vps.is_called() == ("shop-claude", "")
        assert await vps.is_called(host=False) == (me, "")
        # The folder had its name before the bus was joined, too.
        with names.writing(laptop.settings) as book:
            book.begin({"shop-claude"})
            book.names["shop-claude"] = names.holder(tmp_path / "laptop" / "shop", "claude-code")

        name, said = await laptop.is_called()
        assert name == "shop-claude-laptop"
        assert "shop-claude is another account's" in said
        assert await laptop.is_called() == ("shop-claude-laptop", "")
        assert (await laptop.is_called(host=False))[0] == f"{me}-laptop"
        assert await laptop.is_called(host=False) == (f"{me}-laptop", "")
        assert (await laptop.is_called("other"))[0] == "other-claude"

        # Whose a name is the bus knows, also once this machine's book is lost.
        names.file_of(laptop.settings).unlink()
        assert (await laptop.is_called(host=False))[0] == f"{me}-laptop"
        names.file_of(vps.settings).unlink()
        assert (await vps.is_called(host=False))[0] == me

        async with Bus(laptop.settings) as bus:
            assert (await laptop.naming().look(bus)).me.id == "shop-claude-laptop"
            page = await agents.page(bus)
        listed = documents.of_roster(page, texts=True)["agents"]
        assert {each["id"]: each["account"] for each in listed} == {
            "shop-claude": "vps", me: "vps", "shop-claude-laptop": "laptop",
            f"{me}-laptop": "laptop", "other-claude": "laptop",
        }  # fmt: skip


async def test_a_name_that_was_given_is_refused_with_one_that_is_free(tmp_path):
    async with gated(tmp_path, laptop=[], vps=[], pi=[]) as shared:
        vps, laptop = (
            Machine(shared.settings(name), tmp_path / name) for name in ("vps", "laptop")
        )
        assert (await vps.is_called(given="coder"))[0] == "coder"
        with pytest.raises(NameTaken, match="coder is an agent of another account") as refusal:
            await laptop.is_called(given="coder")
        assert "coder-laptop" in refusal.value.hint

        # Taken by another since it was looked: the gate refuses, and the next call finds another.
        naming = laptop.naming("new")
        async with Bus(laptop.settings) as bus, Session(bus, Agent(""), naming=naming) as session:
            await session.take_name()
            assert await vps.is_called(given="new-claude") == ("new-claude", "")
            with pytest.raises(NameTaken):
                await session.called()
            await session.take_name()
            await session.called()
            assert session.me.id == "new-claude-laptop"


async def test_two_machines_that_begin_at_once_have_two_names(tmp_path):
    async with gated(tmp_path, laptop=[], vps=[], pi=[]) as shared:
        machines = [
            Machine(shared.settings(name), tmp_path / name) for name in ("vps", "laptop", "pi")
        ]

        async def called(machine):
            try:
                return (await machine.is_called())[0]
            except NameTaken:
                return (await machine.is_called())[0]

        found = await asyncio.gather(*map(called, machines))
        assert "shop-claude" in found
        assert len(set(found)) == 3, found


async def test_while_nobody_can_say_whose_it_is_a_name_stays(tmp_path):
    with ungated(tmp_path, laptop=[]) as shared:
        laptop = Machine(shared.settings("laptop"), tmp_path / "laptop")
        with names.writing(laptop.settings) as book:
            book.begin(())
            book.names["shop-claude"] = names.holder(tmp_path / "laptop" / "shop", "claude-code")
        async with Bus(laptop.settings) as bus:
            assert (await laptop.naming().take(bus)).me.id == "shop-claude"
