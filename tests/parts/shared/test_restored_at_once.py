# SPDX-License-Identifier: Apache-2.0
"""Several servers take a backup as soon as they can, also after another was broken off."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.errors import Refused
from mcp_agentbus.shared import restore
from mcp_agentbus.shared.backup import ORDER, Stream

RESULTS = Stream("AGENTBUS_RESULTS", 0, "", {}, {"messages": 1, "bytes": 1, "last_seq": 7})


@pytest.mark.parametrize(
    ("replicas", "refused", "asked"), [(3, 2, 3), (3, 10**9, None), (1, 0, 1), (1, 1, None)]
)
async def test_it_is_asked_again_as_long_as_their_room_counts_as_taken(
    monkeypatch, replicas, refused, asked
):
    tries = []

    async def given(*_):
        tries.append(1)
        if len(tries) <= refused:
            raise ApiError(10005, "no suitable peers for placement")

        async def complete():
            return {"state": {"last_seq": 7}}

        return SimpleNamespace(complete=complete)

    monkeypatch.setattr(restore.snapshot, "given", given)
    monkeypatch.setattr(restore, "_LOOK_AGAIN_S", 0)
    monkeypatch.setattr(restore, "_RESERVED_S", 0.1 if asked is None else 20)
    backup = SimpleNamespace(parts=lambda *_: ())
    steps = restore._given(None, backup, RESULTS, {"num_replicas": replicas})

    if asked is None:
        with pytest.raises(Refused, match="Too few of the servers have room"):
            [step async for step in steps]
        assert (len(tries) > 1) == (replicas > 1)
    else:
        [step] = [step async for step in steps]
        assert (step.is_complete, len(tries)) == (True, asked)


class Begun(Exception):
    """Where the streams are made."""


@pytest.mark.parametrize("code", [NO_SUCH_STREAM, 0])
async def test_what_another_restore_has_begun_is_let_go_of_before_it_is_made(monkeypatch, code):
    asked = []

    async def api(call):
        asked.append(call)
        if "INFO" in call or code:
            raise ApiError(NO_SUCH_STREAM)

    async def ensure_streams(_):
        raise Begun

    monkeypatch.setattr(restore.streams, "ensure_streams", ensure_streams)
    with pytest.raises(Begun):
        [step async for step in restore._anew(SimpleNamespace(api=api), None, {}, ())]

    assert asked == [f"STREAM.{each}.{name}" for name in ORDER for each in ("INFO", "DELETE")]
