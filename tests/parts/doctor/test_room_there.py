# SPDX-License-Identifier: Apache-2.0
"""Whether a shared server lets a login have room for the streams that are missing there."""

from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.connection import NoResponders
from mcp_agentbus.doctor import server
from mcp_agentbus.doctor.shared import room
from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.store import streams

MIB = 1 << 20
NONE = dict.fromkeys(streams.STREAMS)
ALL = {name: {"config": {}} for name in streams.STREAMS}


@pytest.mark.parametrize(
    ("info", "lacks"),
    [
        ({"limits": {"max_storage": 10 * MIB, "max_memory": -1}}, ["10 MiB of its disk"]),
        ({"limits": {"max_storage": -1, "max_memory": MIB}}, ["1 MiB of its memory"]),
        (
            {"limits": {"max_storage": 8 << 30, "max_memory": -1}, "reserved_storage": 7 << 30},
            ["1.0 GiB of its disk of the 5.3 GiB"],
        ),
        ({"limits": {"max_storage": 0, "max_memory": 0}}, ["0 B of its disk", "0 B of its memory"]),
    ],
)
def test_a_login_that_may_not_have_what_the_streams_need_is_told_so(info, lacks):
    told = room.short(info, NONE)

    assert (told.name, told.state) == ("store", "wrong")
    assert all(each in told.said for each in lacks)
    assert "5.3 GiB of its disk (max_file)" in told.fix


@pytest.mark.parametrize(
    ("info", "infos"),
    [
        ({"limits": {"max_storage": -1, "max_memory": -1}}, NONE),
        ({"limits": {"max_storage": 8 << 30, "max_memory": 16 * MIB}}, NONE),
        ({"limits": {"max_storage": 0, "max_memory": 0}}, ALL),
        ({"limits": {"max_storage": 0, "max_memory": 0}, "tiers": {"R1": {}}}, NONE),
        ({}, NONE),
        (None, NONE),
    ],
    ids=["no limit", "enough", "all are there", "by replicas", "without any", "not told"],
)
def test_of_a_login_of_which_it_is_not_known_nothing_is_said(info, infos):
    assert room.short(info, infos) is None


@pytest.mark.parametrize("fails", [None, NotAllowed(), NoResponders(), TimeoutError()])
async def test_a_login_that_is_not_let_ask_is_one_of_which_it_is_not_known(fails):
    class Link:
        async def request(self, subject, timeout):
            assert (subject, timeout) == ("$JS.API.INFO", 3.0)
            if fails:
                raise fails
            return SimpleNamespace(data=b'{"limits": {}}')

    assert await server._may_have(Link()) == (None if fails else {"limits": {}})


@pytest.mark.parametrize("is_shared", [True, False])
def test_what_a_shared_server_needs_is_said_before_the_first_call(is_shared):
    said = server.store(NONE, is_shared=is_shared).said

    assert ("needs 5.3 GiB of its disk and 16 MiB of its memory" in said) is is_shared
