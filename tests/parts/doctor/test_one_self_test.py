# SPDX-License-Identifier: Apache-2.0
"""Of two self-tests of one account, whose agents are the same, one waits for the other."""

from __future__ import annotations

import asyncio

import pytest
from local_server import settings_at

from mcp_agentbus.doctor.shared import probe


@pytest.mark.parametrize(
    ("account", "another_s", "waits"),
    [("laptop", 60, True), ("laptop", -1, False), ("", 60, False)],
)
async def test_a_test_of_an_account_waits_for_another_and_not_for_ever(
    tmp_path, monkeypatch, account, another_s, waits
):
    key = tmp_path / "laptop.nk"
    key.touch(mode=0o600)
    environ = {"AGENTBUS_URL": "nats://127.0.0.1:1", "AGENTBUS_NKEY_FILE": str(key)}
    settings = settings_at(
        tmp_path, **environ, **({"AGENTBUS_ACCOUNT": account} if account else {})
    )
    monkeypatch.setattr(probe, "_ANOTHER_S", another_s)
    began = []

    async def second():
        async with probe.alone(settings):
            began.append(asyncio.current_task())

    async with probe.alone(settings):
        other = asyncio.create_task(second())
        await asyncio.wait([other], timeout=0.01)
        before = len(began)
    await other

    assert (before, len(began)) == (0 if waits else 1, 1)
