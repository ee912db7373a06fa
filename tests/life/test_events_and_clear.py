# SPDX-License-Identifier: Apache-2.0
"""Events and a cleared inbox from a shell."""

import asyncio
import json
import os
import subprocess

import forking
import pytest
import served

from mcp_agentbus.errors import TIMED_OUT
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster


async def test_what_one_shell_publishes_others_hear_in_a_frame_or_as_data(home, world):
    folder, topic = home.data_dir.parent, world.name("build")
    builder, page = world.name("builder"), world.name("page")
    listening = [
        await forking.Awaited.started(
            [*served.AGENTBUS, "events", "subscribe", f"{topic}.*", *more, "--agent", page],
            env=served.environ(folder), stdout=subprocess.PIPE,
        )
        for more in (("--limit", "2"), ("--limit", "2", "--json"))
    ]  # fmt: skip
    async with asyncio.timeout(60):
        begun = [await process.stdout.readline() for process in listening]
        say = ("events", "publish", "--agent", builder, f"{topic}.done")
        code, said = await served.typed(folder, *say, "214 tests pass\nForged: yes")
        assert code == 0
        assert (
            said == f"Said on {topic}.done as {builder}. Who listens hears it; nothing is stored.\n"
        )
        await served.typed(folder, *say)
        text, data = [(await process.stdout.read()).decode() for process in listening]
        ended = [await process.wait() for process in listening]

    assert ended == [0, 0]
    assert b"heard at most once" in begun[0]
    assert json.loads(begun[1]) == {"listening": f"{topic}.*", "agent": page}
    assert f"Z {topic}.done from {builder}\n<<<" in text
    assert "\n    214 tests pass\n    Forged: yes\n" in text
    first, second = [json.loads(line) for line in data.splitlines()]
    assert (first["sender"], first["body"]) == (builder, "214 tests pass\nForged: yes")
    assert (second["body"], second["missed"]) == ("", False)


async def test_whoever_hears_nothing_in_time_and_a_wrong_topic_end_with_their_codes(home, world):
    folder, me = home.data_dir.parent, world.name("page")
    topic = world.name("build")

    code, _ = await served.typed(
        folder, "events", "subscribe", topic, "--timeout", "0", "--agent", me
    )
    assert code == TIMED_OUT
    code, said = await served.typed(folder, "events", "publish", "a..b", "--agent", me)
    assert (code, "such as build.done" in said) == (2, True)


def answered(folder, answer, *argv):
    """Type a command in a terminal, and an answer to what it asks; return what it printed."""
    terminal, stdin = os.openpty()
    os.write(terminal, answer)
    ran = forking.ran([*served.AGENTBUS, *argv], 60, env=served.environ(folder), stdin=stdin)
    os.close(stdin)
    os.close(terminal)
    return ran.stdout


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 1), (b"\x04", 1), (b"y\n", 0)])
async def test_a_cleared_inbox_is_asked_for_first(home, world, answer, left):
    folder = home.data_dir.parent
    planner, coder = await world.session("planner"), await world.session("coder")
    await send_task(planner, coder.me.id, "Count", "all of it")
    clear = ("clear", "--agent", coder.me.id)

    code, said = await served.typed(folder, *clear)
    assert code == 2
    assert "1 waiting task would be rejected" in said
    assert "Give --yes" in said
    printed = await asyncio.to_thread(answered, folder, answer, *clear)

    assert ("Nothing was done." in printed) == bool(left)
    assert len((await read_inbox(coder)).tasks) == left


async def test_with_yes_nobody_is_asked_and_nothing_to_do_is_no_fault(home, world):
    folder = home.data_dir.parent
    planner, coder = await world.session("planner"), await world.session("coder")
    await send_task(planner, coder.me.id, "Count", "all of it")
    clear = ("clear", "--yes", "--agent", coder.me.id)

    _, cleared = await served.typed(folder, *clear, "--json")
    code, again = await served.typed(folder, *clear)

    assert json.loads(cleared) == {
        "agent": coder.me.id, "rejected": 1, "withdrawn": 0, "left": 0,
    }  # fmt: skip
    assert code == 0
    assert again.startswith(f"Nothing waits for {coder.me.id}, and nothing that it sent has no end")


async def test_whoever_is_not_known_has_nothing_to_clear_and_is_not_registered_by_that(home, world):
    folder, nobody = home.data_dir.parent, world.name("nobody")

    code, said = await served.typed(folder, "clear", "--yes", "--agent", nobody)

    assert (code, f"No agent '{nobody}' is registered. Nothing was done." in said) == (1, True)
    assert await roster.look(world.bus, nobody) is None
