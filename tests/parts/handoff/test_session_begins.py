# SPDX-License-Identifier: Apache-2.0
"""What a session begins once, where it takes several tries."""

import pytest
from session_stand_in import SessionBus

from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.store.reading import consumers


async def test_what_tries_heard_that_failed_is_heard_once_after_the_next(tmp_path, monkeypatch):
    bus = SessionBus(tmp_path / "home", monkeypatch)

    async def fails(*_):
        raise BusUnreachable

    session = bus.session(hosted="of-claude")
    for broken, name, call in (
        (bus, "ask", session.called), (consumers, "ensure_sender", session.can_read)
    ):  # fmt: skip
        with monkeypatch.context() as failing:
            failing.setattr(broken, name, fails)
            with pytest.raises(BusUnreachable):
                await call()
        await call()

    assert {len(each) for each in bus.heard.values()} == {1}
    await session.close()
