# SPDX-License-Identifier: Apache-2.0
"""How a command ends that sends to several and cannot wait for those who have got the task."""

import json
from argparse import Namespace
from types import SimpleNamespace

import pytest

from mcp_agentbus.core import text
from mcp_agentbus.core.feather.printer import EXIT_CODE
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff import inbox
from mcp_agentbus.store.task import Receipt
from mcp_agentbus.tools import commands
from mcp_agentbus.tools.typed_command import Command

STORED = Receipt(task_id="1" * 32, to="coder", expires_at=text.now())
REFUSED = STORED.model_copy(
    update={"task_id": "2" * 32, "to": "other", "state": "refused", "reason": "its inbox is full"}
)


@pytest.fixture
def away(monkeypatch):
    async def watch(*_, **__):
        raise BusUnreachable

    monkeypatch.setattr(inbox, "watch_inbox", watch)


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("receipts", "code"), [((STORED,), 3), ((STORED, REFUSED), 1)])
async def test_what_was_refused_is_its_exit_code_with_a_text_as_with_data(as_json, receipts, code):
    printed = []
    args = Namespace(json=as_json, wait=0)
    call = Command(args, SimpleNamespace(), lambda *said: printed.append(said))
    session = SimpleNamespace(outbox=None, me=SimpleNamespace(id="planner"))
    refused = int(REFUSED in receipts)
    try:
        ended = await commands._answers(call, session, receipts, refused)
    except BusUnreachable as error:
        ended, hint = error.exit_code, error.hint

    [(said, changed)] = printed
    hint = json.loads(said)["error"]["hint"] if as_json else hint
    assert "`agentbus watch --task ID --agent planner` waits" in hint
    assert ended == code
    assert "its inbox is full" in said or not refused
    if as_json:
        assert (json.loads(said)["error"]["kind"], changed) == ("BusUnreachable", {EXIT_CODE: code})
