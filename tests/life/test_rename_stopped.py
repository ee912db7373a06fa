# SPDX-License-Identifier: Apache-2.0
"""A rename that is stopped on its way, or comes amid another work, is finished by the same again."""

import pytest
from set_aside import set_aside

from mcp_agentbus.config import names
from mcp_agentbus.config.changes import editor
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.store import roster, streams
from mcp_agentbus.tools.rename import rename


class Stopped(Exception):
    """The process has ended there."""


@pytest.mark.parametrize(
    ("module", "step"), [(names, "writing"), (editor, "rename"), (roster, "register")]
)
async def test_wherever_it_was_stopped_the_same_again_finishes_it(
    own_world, tmp_path, monkeypatch, module, step
):
    def stop(*_):
        raise Stopped

    bus = own_world.bus
    settings = editor.add(
        bus.settings, "coder", host="cursor", dir=str(tmp_path), wake="hold"
    ).settings
    with names.writing(settings) as book:
        book.names["coder"] = names.holder(tmp_path, "cursor")
    await streams.ensure_streams(bus)
    await roster.register(bus, Agent("coder", "cursor"), None)
    bus.settings = load_settings(settings.environ)
    with monkeypatch.context() as stopped:
        stopped.setattr(module, step, stop)
        with pytest.raises(Stopped):
            await rename(bus, "coder", "lead")
    bus.settings = load_settings(settings.environ)

    await rename(bus, "coder", "lead")

    assert list(load_settings(settings.environ).agents) == ["lead"]
    book = names.read(settings)
    assert (list(book.names), book.renamed) == (["lead"], {"coder": "lead"})
    assert await roster.look(bus, "coder") is None
    assert (await roster.look(bus, "lead")).hosts == ("cursor",)
    bus.settings = editor.add(bus.settings, "coder", host="cursor").settings
    with pytest.raises(BadInput, match="lead is an agent already"):
        await rename(bus, "coder", "lead")  # which is another one of the old name


@pytest.mark.promise(18)
@pytest.mark.parametrize("step", ["_begin_anew", "store_moved", "_renew_sent", "_remove"])
async def test_what_is_offered_again_as_its_agent_is_renamed_comes_to_the_new_name(
    own_world, monkeypatch, step
):
    planner, coder, task_id = await set_aside(own_world)
    bus, old, new = own_world.bus, coder.me.id, own_world.name("lead")
    await coder.close()
    done, renamed = getattr(replay, step), []

    async def as_it_is_renamed(*what, **how):
        renamed.append(renamed or await rename(bus, old, new))
        return await done(*what, **how)

    monkeypatch.setattr(replay, step, as_it_is_renamed)
    await replay.replay(bus, [old], task_id)
    await rename(bus, old, new)
    lead = await own_world.session("lead")
    [item] = (await watch_inbox(lead, timeout_s=5)).tasks
    await publish_result(lead, task_id, "completed")

    assert (item.task.id, item.attempt) == (task_id, 1)
    assert [each.state for each in (await watch_inbox(planner, timeout_s=5)).results] == [
        "completed"
    ]
    assert await parking.parked(bus, old) == []
