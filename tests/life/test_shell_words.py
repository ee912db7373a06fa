# SPDX-License-Identifier: Apache-2.0
"""What a shell is told: in commands that can be typed there, never in calls of tools."""

from __future__ import annotations

import asyncio
import re

import pytest
import served

# What a tool's call, or an argument of it alone, looks like.
TOOL = re.compile(r"\b(send_task|read_inbox|watch_inbox|list_agents|publish_result|next_cursor)\b")


@pytest.mark.parametrize("way", ["relayed"], indirect=True)
async def test_no_answer_that_a_shell_sees_names_a_tool(world, home, way):
    """Of every command: what it does, what it refuses, what is held, and what is there no more."""
    bus, coder, planner = home.data_dir.parent, world.name("coder"), world.name("planner")
    answers = []

    async def typed(who, *argv):
        _, printed = await served.typed(bus, *argv, "--agent", who)
        answers.append(printed)
        return printed

    await asyncio.gather(typed(coder, "inbox"), typed(planner, "inbox"))
    sent = [await typed(planner, "send", coder, f"s{n}", "b") for n in range(3)]
    held, kept, free = (re.search(r"[0-9a-f]{32}", receipt)[0] for receipt in sent)
    await typed(coder, "inbox", "--limit", "2")
    await typed(coder, "result", held, "needs_approval", "--summary", "may I?")
    await asyncio.gather(
        typed(coder, "inbox"),
        typed(coder, "inbox", "--peek"),
        typed(coder, "watch", "--timeout", "0"),
        typed(coder, "inbox", "--cursor", "x"),
        typed(coder, "inbox", "--peek", "--cursor", "x"),
        typed(coder, "task", held),
        typed(coder, "task", held, "--cursor", "9999999"),
        typed(coder, "task", "0" * 32),
        typed(coder, "parked"),
        typed(coder, "replay", "9"),
        typed(coder, "agents", coder),
        typed(coder, "agents", "--cursor", "?", "--limit", "1"),
        typed(planner, "result", free, "completed"),
        typed(planner, "result", free, "released"),
        typed(planner, "send", "nobody", "s", "b"),
        typed(planner, "send", coder, "s" * 201, "b"),
        typed(planner, "send", coder, "s", "b", "--in-reply-to", "0" * 32),
        typed(planner, "watch", "--task", "0" * 32),
    )
    await typed(planner, "result", kept, "cancelled")
    await typed(coder, "result", kept, "completed")
    await typed(coder, "result", held, "completed", "--summary", "a")
    await typed(coder, "result", held, "completed", "--summary", "other")
    await typed(planner, "inbox", "--full")

    assert all(answers)
    assert [answer for answer in answers if TOOL.search(answer)] == []
