# SPDX-License-Identifier: Apache-2.0
"""What the roster says of an agent by what is stored, without asking a server."""

from datetime import UTC, datetime

import pytest
from messages import read_record
from pydantic import ValidationError

from mcp_agentbus.store import roster
from mcp_agentbus.store.roster import Profile

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def test_a_registration_cannot_be_changed_in_place():
    with pytest.raises(ValidationError, match="frozen"):
        Profile(id="coder", registered_at=NOON).description = "Other"


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "completed", "session": "s1"},
        {"state": "stored", "session": "s1"},
        {"state": "working", "session": ""},
    ],
)
async def test_what_is_over_or_in_no_sessions_hands_nobody_may_hold(fields):
    assert not await roster.may_hold(None, read_record(**fields))
