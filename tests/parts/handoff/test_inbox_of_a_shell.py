# SPDX-License-Identifier: Apache-2.0
"""What the commands of a shell claim: each is a process, and all of them are one session."""

import pytest
from answering import Reader

from mcp_agentbus.handoff.inbox import read_inbox

ALL = ["high", "normal", "low"]


@pytest.fixture
def reader(monkeypatch):
    return Reader(monkeypatch)


@pytest.mark.parametrize(
    ("leased", "cursor", "taken"),
    [(True, None, (1, ALL)), (True, "claim-0", (1, [])), (False, None, (1, []))],
    ids=["a shell", "its next page", "a server that was started again"],
)
async def test_of_what_earlier_commands_of_a_shell_claimed_a_limit_counts_nothing(
    reader, leased, cursor, taken
):
    reader.held("t1", "t2", found=True)
    reader.session.leased = leased
    await read_inbox(reader.session, limit=1, cursor=cursor)

    assert ("take", *taken, []) in reader.asked
