# SPDX-License-Identifier: Apache-2.0
"""What cannot be asked of the inbox is refused before anything is, with what can be."""

import pytest
from answering import Reader

from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.inbox import check_watch, read_inbox, watch_inbox


@pytest.fixture
def reader(monkeypatch):
    return Reader(monkeypatch)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ({"limit": 0}, "Use 1 to 50."),
        ({"limit": 51}, "Use 1 to 50."),
        ({"limit": 2.5}, "Use 1 to 50."),
        ({"thread_id": "a b"}, "Use 1 to 128 letters"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_what_can(reader, asked, hint):
    with pytest.raises(BadInput) as refused:
        await read_inbox(reader.session, **asked)

    assert refused.value.hint.startswith(hint)
    assert reader.asked == []


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ({"timeout_s": -1}, "Use 0 to 3600 seconds."),
        ({"timeout_s": 3601}, "Use 0 to 3600 seconds."),
        ({"timeout_s": 0, "limit": 51}, "Use 1 to 50."),
        ({"timeout_s": 0, "priority": "urgent"}, "Use high, normal or low."),
        ({"timeout_s": 0, "task_id": 5}, "Give it as a str."),
        ({"timeout_s": 0, "task_id": "a b"}, "Copy the task_id"),
        ({"timeout_s": 0, "task_id": []}, "Copy the task_id"),
    ],
)
async def test_what_cannot_be_waited_for_is_refused_with_what_can(reader, asked, hint):
    with pytest.raises(BadInput) as refused:
        await watch_inbox(reader.session, **asked)

    assert refused.value.hint.startswith(hint)
    assert reader.asked == []


def test_what_can_be_waited_for_is_not_refused():
    for priority in (None, "high", "normal", "low"):
        check_watch(0, ["t1"], priority)
    check_watch(3600)
