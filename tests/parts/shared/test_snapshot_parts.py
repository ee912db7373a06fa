# SPDX-License-Identifier: Apache-2.0
"""A part of a snapshot, on its way to a server that nobody seems to listen at for a moment."""

from types import SimpleNamespace

import pytest

from mcp_agentbus.errors import BusUnreachable, NoAnswer, NobodyListens
from mcp_agentbus.shared import snapshot
from mcp_agentbus.shared.snapshot import Given


class Server:
    """Answers one request after the other, or does not."""

    def __init__(self, *answers):
        self._answers, self.asked = list(answers), []

    async def request(self, subject, data, _):
        self.asked.append((subject, data))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(data=answer)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(snapshot, "_UNHEARD_S", (0, 0))


async def test_a_part_that_nobody_has_heard_is_handed_over_again():
    server = Server(NobodyListens(), NobodyListens(), b"")

    await Given(server, "there").put(b"part")

    assert server.asked == [("there", b"part")] * 3


@pytest.mark.parametrize(
    "answers", [(NoAnswer(),), (NobodyListens(), NoAnswer()), (NobodyListens(),) * 3]
)
async def test_one_that_may_have_been_heard_is_not_nor_for_ever(answers):
    server = Server(*answers)

    with pytest.raises(BusUnreachable, match="was lost on the way"):
        await Given(server, "there").put(b"part")

    assert len(server.asked) == len(answers)
