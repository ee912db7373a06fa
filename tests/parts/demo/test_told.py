# SPDX-License-Identifier: Apache-2.0
"""A demo that fails says so in one sentence, whatever the libraries between make of its error."""

import asyncio
import errno
import os
import signal
from types import SimpleNamespace

import pytest
from mcp_types import TextContent

from mcp_agentbus.core.files import unusable
from mcp_agentbus.demo import handoff
from mcp_agentbus.errors import AgentbusError, BusUnreachable

GONE = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize(
    ("failed", "told"),
    [
        (ExceptionGroup("a", [ExceptionGroup("b", [BusUnreachable("Away.")])]), "Away. "),
        (ExceptionGroup("a", [KeyError("x"), BusUnreachable("Away.")]), "Away. "),
        (ExceptionGroup("a", [GONE]), "[Errno 24]"),
        (ExceptionGroup("a", [KeyError("x")]), "The demo came to no end: KeyError. Hint: Run"),
        (BusUnreachable("Away."), "Away. "),
    ],
)
async def test_of_errors_in_groups_the_one_that_is_meant_is_told(
    failed, told, monkeypatch, tmp_path
):
    async def fails(*_, **__):
        raise failed

    monkeypatch.setattr(handoff, "_run", fails)

    with pytest.raises((AgentbusError, OSError)) as caught:
        await handoff.run(tmp_path, as_json=False)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_told_to_end_it_ends_what_it_has_started_before(number, monkeypatch, tmp_path):
    async def runs(*_, **__):
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), number)  # impatient
            ended.append(await asyncio.to_thread(tmp_path.exists))

    ended = []
    monkeypatch.setattr(handoff, "_run", runs)

    assert await handoff.run(tmp_path, as_json=False) == 128 + number
    assert ended == [True]


async def test_a_tool_that_refuses_is_told_with_its_own_hint():
    async def call_tool(*_):
        said = TextContent(type="text", text="No bus.\nHint: Start it.")
        return SimpleNamespace(is_error=True, content=[said])

    with pytest.raises(AgentbusError) as caught:
        await handoff._call(SimpleNamespace(call_tool=call_tool), "list_agents")
    assert (caught.value.message, caught.value.hint) == ("list_agents failed: No bus.", "Start it.")


@pytest.mark.parametrize("path", ["", "/x"])
def test_too_few_files_are_told_with_how_to_have_more(path):
    told = unusable(GONE, path)

    assert told.message == "Too few files may be open here: Too many open files."
    assert "ulimit -n" in told.hint
