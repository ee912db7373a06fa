# SPDX-License-Identifier: Apache-2.0
"""What a sign of life says is checked, field by field; how old it is the server says."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.notices import Holds
from mcp_agentbus.store.queries import signs
from mcp_agentbus.store.queries.signs import Sign, decode_sign
from mcp_agentbus.store.task import Undecodable

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SUBJECT = "agentbus.coder.heartbeat.3f7a"
SURELY = timedelta(seconds=75)


def beat(said, subject=SUBJECT, **headers):
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return Found(subject, 1, NOON, headers, data)


def sign(**fields):
    bare = {
        "agent": "coder", "session": "3f7a", "kind": "session", "host": "", "leaving": False,
        "gone": False, "holds": Holds(), "at": NOON,
    }  # fmt: skip
    return Sign(**bare | fields)


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({"kind": "session"}, {}),
        ({"kind": "session", "host": "codex"}, {"host": "codex"}),
        ({"kind": "session", "host": "no host\n"}, {}),
        ({"kind": "session", "host": 7}, {}),
        ({"kind": "session", "leaving": True}, {"leaving": True}),
        (
            {"kind": "listener", "gone": 1, "held": "quiet", "wake_on": ["high"]},
            {"kind": "listener", "gone": True, "holds": Holds("quiet", {}, ["high"])},
        ),
    ],
)
def test_a_sign_is_read_whole_and_what_makes_no_sense_is_not_said(said, fields):
    assert decode_sign(beat(said)) == sign(**fields)


@pytest.mark.parametrize(
    ("said", "subject"),
    [
        ({"kind": "else"}, SUBJECT),
        ({"kind": ["session"]}, SUBJECT),
        ([], SUBJECT),
        (b"no json", SUBJECT),
        ({"kind": "session"}, "agentbus.NOBODY.heartbeat.3f7a"),
        ({"kind": "session"}, "agentbus.coder.heartbeat"),
        ({"kind": "session"}, "agentbus.coder.heartbeat.a.b"),
    ],
)
def test_what_is_no_sign_is_none(said, subject):
    with pytest.raises(Undecodable):
        decode_sign(beat(said, subject))
    assert signs._sign(beat(said, subject), NOON) is None


@pytest.mark.parametrize(
    ("said", "age", "headers", "is_there"),
    [
        ({}, timedelta(), {}, True),
        ({}, SURELY, {}, True),
        ({}, SURELY + timedelta(seconds=1), {}, False),
        ({}, timedelta(), {"Nats-Marker-Reason": "MaxAge"}, False),
        ({"leaving": True}, timedelta(), {}, False),
    ],
)
def test_who_leaves_or_said_nothing_for_long_is_not_there(said, age, headers, is_there):
    heard = signs._sign(beat({"kind": "session", **said}, **headers), NOON + age)

    assert heard == (sign() if is_there else None)


@pytest.mark.parametrize(("age", "asks"), [(SURELY, False), (SURELY + timedelta(seconds=1), True)])
async def test_where_somebody_would_be_gone_by_this_clock_the_servers_says_whether(
    world, monkeypatch, age, asks
):
    coder, asked = await world.session("coder"), []

    async def there(_, stream):
        asked.append(stream)
        return now[0]

    [heard] = await signs.signs_of_life(world.bus, coder.me.id)
    now = [heard.at]
    monkeypatch.setattr(signs, "server_now", there)
    monkeypatch.setattr(signs.text, "now", lambda: heard.at + age)

    assert await signs.signs_of_life(world.bus, coder.me.id) == [heard]
    assert asked == (["AGENTBUS_PRESENCE"] if asks else [])
