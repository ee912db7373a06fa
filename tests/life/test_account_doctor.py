# SPDX-License-Identifier: Apache-2.0
"""`agentbus doctor` of an account of a shared server: its gate, and a task's whole way through it."""

import asyncio
import json
from dataclasses import replace

import pytest
from doctors import printed, report, sent_round
from gated import gated, ungated

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import GATE
from mcp_agentbus.bus.login.nkey import new_seed
from mcp_agentbus.config import names
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor import hosts
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster
from mcp_agentbus.store.subjects import TASKS


def of(shared, account):
    """Return the settings of an account's machine, where no listener is started."""
    settings = shared.settings(account)
    return replace(settings, environ={**settings.environ, "AGENTBUS_LISTENER": "off"})


async def test_it_tells_how_fast_the_gate_answers_and_what_it_does_not_look_at(tmp_path):
    async with gated(tmp_path, laptop=[], vps=[]) as shared:
        settings = of(shared, "laptop")
        _, found = await report(settings)

        assert found["gate"]["state"] == "ok"
        assert "answers the account laptop in" in found["gate"]["said"]
        assert "the key of the account laptop in" in found["server"]["said"]
        assert {found[name]["state"] for name in ("server", "durability", "store", "clock")} == {
            "ok"
        }
        for name in ("strangers", "messages"):
            assert found[name]["state"] == "ok"
            assert "not looked at" in found[name]["said"]

        assert "name coder" not in found
        _, found = await report(replace(settings, agents={"ops": Agent("ops", roles=("deploy",))}))
        assert found["name ops"]["state"] == "warning"
        assert "agentbus inbox --peek --agent ops" in found["name ops"]["fix"]
        async with (
            Bus(shared.settings("vps")) as there,
            Session(there, Agent("coder")) as coder,
        ):
            await coder.called()
        _, found = await report(replace(settings, agents={"coder": Agent("coder")}))
        assert "an agent of another account" in found["name coder"]["said"]

        for _ in range(2):  # the names are the account's own the second time, too
            code, stages = await sent_round(settings)
            assert (code, stages["seen"]["state"]) == (0, "ok"), stages
            assert "doctor-laptop and doctor-laptop-worker stay" in stages["cleanup"]["said"]
        async with Bus(settings) as bus:
            registered = await roster.registered(bus)
        assert registered == {"coder", "doctor-laptop", "doctor-laptop-worker"}


@pytest.mark.promise(58)
async def test_a_server_without_its_gate_and_one_that_lets_the_account_in_no_more_are_told_apart(
    tmp_path,
):
    with ungated(tmp_path, laptop=[]) as shared:
        settings = of(shared, "laptop")
        code, found = await report(settings)
        assert (code, found["gate"]["state"]) == (1, "wrong")
        assert "its gate does not" in found["gate"]["said"]
        assert "its gate must run" in found["gate"]["fix"]
        code, stages = await sent_round(settings)
        assert code == 1
        assert "its gate does not" in stages["register"]["said"]

        asked = asyncio.Queue()
        async with (
            Bus(shared.admin) as silent,
            silent.subscribed(f"{GATE}.laptop.>", asked.put_nowait),
        ):
            code, found = await report(settings)
        assert (code, found["server"]["state"], found["gate"]["state"]) == (1, "ok", "wrong")
        assert "tell whoever runs it" in found["gate"]["fix"]
        assert not asked.empty()

        (shared.folder / "laptop.nk").write_text(new_seed())
        code, found = await report(settings)
        assert (code, found["server"]["state"]) == (1, "wrong")
        assert "does not let the account laptop in" in found["server"]["said"]
        assert "agentbus join" in found["server"]["fix"]


async def test_an_account_mends_what_is_its_own_and_its_owner_what_is_the_buss(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(hosts, "HOSTS", ())
    async with gated(tmp_path, laptop=[]) as shared:
        laptop, owner = of(shared, "laptop"), shared.admin
        laptop.environ["AGENTBUS_ACCOUNT"] = "laptop"
        (tmp_path / "shop").mkdir()
        with names.writing(laptop) as book:
            book.names["shop"] = names.holder(tmp_path / "shop", "claude-code")
        async with Bus(laptop) as bus, Session(bus, Agent("shop")) as session:
            await session.called()
        (tmp_path / "shop").rmdir()
        theirs = {"name": "theirs", "durable_name": "theirs", "ack_policy": "explicit",
                  "filter_subject": "agentbus.nobody.tasks.high.*"}  # fmt: skip
        async with Bus(owner) as bus:
            body = {"stream_name": TASKS, "config": theirs}
            await bus.api(f"CONSUMER.CREATE.{TASKS}.theirs.agentbus.nobody.tasks.high.*", body)

        steps = {}
        for who, settings in (("laptop", laptop), ("owner", owner)):
            for turn in ("first", "second"):
                _, said = await printed(settings, fix=True)
                done = json.loads(said)
                steps[who, turn] = [(each["state"], each["step"]) for each in done["steps"]]
            if who == "laptop":
                looked = {each["name"]: each["said"] for each in done["checks"]}
        async with Bus(laptop) as bus:
            registered = await roster.registered(bus)

    assert steps == {
        ("laptop", "first"): [("done", "forget the agents shop")],
        ("laptop", "second"): [("none", "")],
        ("owner", "first"): [("done", f"remove the consumers theirs from {TASKS}")],
        ("owner", "second"): [("none", "")],
    }
    assert registered == frozenset()
    for name in ("strangers", "messages", "consumers", "orphans"):
        assert "not looked at" in looked[name]
