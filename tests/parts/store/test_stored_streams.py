# SPDX-License-Identifier: Apache-2.0
"""What a stream is set up as, by whom, and what its subjects are."""

from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import NO_ROOM_TO_RESERVE, NO_SUCH_STREAM, ApiError
from mcp_agentbus.errors import NotAllowed, Refused, StoreFull
from mcp_agentbus.store import streams
from mcp_agentbus.store.subjects import Parts, overlap, parts
from mcp_agentbus.store.upkeep.anothers import MARK
from mcp_agentbus.store.upkeep.as_made import kept_settings

MADE = {"name": "S", "subjects": ["a.*"], "storage": "file", "max_bytes": 100}


@pytest.mark.parametrize(
    ("one", "other", "do_overlap"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.c", True),
        ("*.b", "a.*", True),
        ("a.>", "a.b.c", True),
        ("a.>", "b.>", False),
        ("a.b", "a", False),
        ("a.*", "a", False),
        ("a", "a.*", False),
        (">", "a", True),
    ],
)
def test_two_filters_overlap_where_a_subject_fits_both(one, other, do_overlap):
    assert overlap(one, other) is do_overlap
    assert overlap(other, one) is do_overlap


@pytest.mark.parametrize(
    ("subject", "taken_apart"),
    [
        ("agentbus.coder.tasks.high.planner", Parts("coder", "tasks", ("high", "planner"))),
        ("agentbus.coder.back", Parts("coder", "back", ())),
        ("agentbus.coder", Parts("", "", ())),
        ("agentbus", Parts("", "", ())),
    ],
)
def test_a_subject_is_taken_apart_and_one_that_is_too_short_has_nothing(subject, taken_apart):
    assert parts(subject) == taken_apart


WANTED = sum(each["max_bytes"] for each in streams.SETTINGS if each["storage"] == "file")


@pytest.mark.parametrize(
    ("storage", "room", "max_bytes"),
    [
        ("file", None, WANTED // 4),
        ("file", WANTED, WANTED // 4),
        ("file", WANTED // 2, WANTED // 8),
        ("memory", WANTED // 2, WANTED // 4),
    ],
)
def test_a_stream_is_made_smaller_where_the_store_has_less_room(storage, room, max_bytes):
    stream = {"name": "S", "storage": storage, "max_bytes": WANTED // 4}

    assert streams.fitted(stream, room) == {
        **stream, "max_bytes": max_bytes, "metadata": {MARK: str(streams.LAYOUT)},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("has", "grows"),
    [
        ({"max_bytes": 32 << 20}, True),
        ({"max_bytes": (32 << 20) + 1}, False),
        ({"max_bytes": 1 << 30}, False),
        ({"max_bytes": -1}, False),
        ({"max_bytes": 1, "metadata": {MARK: "9"}}, False),
    ],
)
async def test_what_was_made_on_a_nearly_full_disk_gets_its_part_of_the_room_and_keeps_the_rest(
    monkeypatch, has, grows
):
    monkeypatch.setattr(streams.limits, "given_limit", lambda _: None)
    monkeypatch.setattr(streams.limits, "store_limit", lambda _: WANTED)
    first = streams.SETTINGS[0]["name"]
    server = Server(UPDATE=ApiError(NO_ROOM_TO_RESERVE))

    await streams._grow(server, [{"name": first, "subjects": ["mine"], **has}])

    grown = {"name": first, "subjects": ["mine"], **has, "max_bytes": 64 << 20}
    assert server.calls == ([(f"STREAM.UPDATE.{first}", grown)] if grows else [])


@pytest.mark.parametrize(("given", "room"), [(None, 50), (20, 20), (90, 50)])
def test_a_server_reserves_what_it_was_told_or_what_a_full_disk_leaves(monkeypatch, given, room):
    monkeypatch.setattr(streams.limits, "given_limit", lambda _: given)
    monkeypatch.setattr(streams.limits, "store_limit", lambda _: 50)

    assert streams._room(None) == room


@pytest.mark.parametrize(
    ("layout", "is_newer"),
    [
        ("3", True),
        ("2", False),
        ("99999999", True),
        ("999999999", False),
        ("³", False),
        ("", False),
    ],
)
def test_a_later_version_has_set_up_what_says_so(layout, is_newer):
    assert streams.is_newer({"metadata": {MARK: layout}}) is is_newer
    assert streams.is_newer({"metadata": None}) is False


@pytest.mark.parametrize(
    ("has", "newer", "call"),
    [
        (None, False, "CREATE"),
        (MADE, False, ""),
        (MADE | {"max_bytes": 50, "subjects": ["b.*"]}, False, "UPDATE"),
        (MADE | {"subjects": ["b.*"], "metadata": {MARK: "9"}}, False, ""),
        (MADE | {"subjects": ["b.*"], "metadata": {MARK: "9"}}, True, "UPDATE"),
    ],
)
def test_what_is_missing_is_made_and_what_an_older_version_made_is_set_up_anew(has, newer, call):
    assert streams._call(MADE, has, newer=newer) == call
    assert newer or streams._call(MADE, has) == call


class Server:
    """Answers a call as it is told, and notes it."""

    def __init__(self, url=None, **answers):
        self.settings, self.answers, self.calls = SimpleNamespace(url=url), answers, []

    async def api(self, call, body=None):
        self.calls.append((call, body))
        answer = self.answers.get(call.split(".")[1])
        answer = answer.pop(0) if isinstance(answer, list) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer


def listed(*names, total=None):
    infos = [{"config": {"name": name}, "ts": "2026-11-21T12:00:00Z"} for name in names]
    return {"streams": infos, "total": len(names) if total is None else total}


@pytest.mark.parametrize(
    ("answer", "are_told"),
    [
        (listed(*streams.STREAMS, "ELSE"), [True] * 6),
        (listed(*streams.STREAMS[1:]), [False, *[True] * 5]),
        (listed(*streams.STREAMS, total=9), None),
        ({"streams": None, "total": 0}, [False] * 6),
        ({}, None),
    ],
)
async def test_all_streams_are_known_by_one_answer_where_it_names_all(
    monkeypatch, answer, are_told
):
    noted = []
    monkeypatch.setattr(streams.clock, "note", lambda _, info: noted.append(info))
    server = Server(LIST=answer)
    told = await streams._all_here(server)

    assert (told and [bool(each) for each in told]) == are_told
    assert all(
        each == {"name": name}
        for each, name in zip(told or [None] * 6, streams.STREAMS, strict=True)
        if each
    )
    assert server.calls == [("STREAM.LIST", {"offset": 0})]
    assert noted == (answer.get("streams") or [])[:1]


async def test_on_a_shared_server_three_keep_a_stream_where_there_are_as_many():
    alone, three = Server(CREATE={}), Server("nats://shared", CREATE={})
    fewer = Server("nats://shared", CREATE=[ApiError(10005), {}])
    for server in (alone, three, fewer):
        await streams._set_up(server, "CREATE", MADE)

    one = ("STREAM.CREATE.S", MADE)
    of_three = ("STREAM.CREATE.S", MADE | {"num_replicas": 3})
    assert [server.calls for server in (alone, three, fewer)] == [
        [one],
        [of_three],
        [of_three, one],
    ]


async def test_who_may_make_no_stream_is_told_whose_it_is_and_none_is_changed_in_vain():
    with pytest.raises(NotAllowed, match="whoever runs the server"):
        await streams._set_up(Server(CREATE=NotAllowed()), "CREATE", MADE)
    has = MADE | {"max_bytes": 1, "allow_msg_ttl": True}
    server = Server("nats://shared", INFO={"config": has}, UPDATE=NotAllowed())
    await streams._set_up(server, "UPDATE", MADE)

    # With what it has that cannot be taken back.
    update = ("STREAM.UPDATE.S", MADE | kept_settings(MADE, has))
    assert server.calls == [("STREAM.INFO.S", None), update]
    assert update[1]["allow_msg_ttl"]


@pytest.fixture
def pauses(monkeypatch):
    paused = []

    async def sleep(pause_s):
        paused.append(pause_s)

    monkeypatch.setattr(streams, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(streams, "random", SimpleNamespace(uniform=lambda low, high: high - low))
    monkeypatch.setattr(streams.clock, "note", lambda *_: None)
    return paused


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (NO_ROOM_TO_RESERVE, StoreFull().message),
        (streams.NAME_IN_USE, "S is being restored from a backup, or that was broken off"),
    ],
)
async def test_beside_others_who_make_it_a_stream_is_tried_again_until_it_is_there(
    pauses, code, said
):
    missing, refused = ApiError(NO_SUCH_STREAM), ApiError(code)
    theirs = Server(CREATE=refused, INFO=[missing, {"config": MADE}])
    await streams._make(theirs, "CREATE", MADE)
    assert pauses == [0.02, 0.05]

    pauses.clear()
    with pytest.raises(Refused, match=said):
        await streams._make(Server(CREATE=refused, INFO=missing), "CREATE", MADE)
    assert pauses == list(streams._BESIDE_OTHERS_S)


@pytest.mark.parametrize("code", [NO_ROOM_TO_RESERVE, 10028])
@pytest.mark.parametrize("url", [None, "nats://shared"])
async def test_a_server_with_too_little_room_is_told_what_it_needs_if_it_is_shared(
    pauses, code, url
):
    server = Server(url, CREATE=ApiError(code), INFO=ApiError(NO_SUCH_STREAM))
    with pytest.raises(StoreFull) as full:
        await streams._make(server, "CREATE", MADE)

    needs = "at least 5.3 GiB of its disk (max_file) and 16 MiB of its memory (max_mem)"
    assert (needs in full.value.hint) is (url is not None)
    assert ("agentbus server status" in full.value.hint) is (url is None)
    assert len(pauses) == (len(streams._BESIDE_OTHERS_S) if code == NO_ROOM_TO_RESERVE else 0)


async def test_what_cannot_be_set_up_anew_stays_and_what_cannot_be_made_is_said(pauses):
    await streams._make(Server(INFO={"config": MADE}, UPDATE=ApiError(10052)), "UPDATE", MADE)
    with pytest.raises(Refused):
        await streams._make(Server(CREATE=ApiError(10065)), "CREATE", MADE)

    assert pauses == []


async def test_what_the_server_refuses_is_no_missing_stream(pauses):
    assert await streams._config(Server(INFO=ApiError(NO_SUCH_STREAM)), MADE) is None
    with pytest.raises(ApiError):
        await streams._config(Server(INFO=ApiError(10008)), MADE)
