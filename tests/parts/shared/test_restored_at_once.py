# SPDX-License-Identifier: Apache-2.0
"""Several servers that have room again a moment after a stream was removed take its backup then."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import ApiError
from mcp_agentbus.errors import Refused
from mcp_agentbus.shared import restore
from mcp_agentbus.shared.backup import Stream

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
