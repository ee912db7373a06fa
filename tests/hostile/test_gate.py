# SPDX-License-Identifier: Apache-2.0
"""What an account with a valid key of its own tries against others: refused, or without effect."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from mallory import GATE, SECRET, asked_of_others, attacked, said_of_others

from mcp_agentbus.bus.connection import NoResponders
from mcp_agentbus.core.text import now, stamp
from mcp_agentbus.gate import desk
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.shared.accounts import store
from mcp_agentbus.store.queues import stored_tasks
from mcp_agentbus.store.subjects import DEAD, RESULTS, SCHEDULE, TASKS


@pytest_asyncio.fixture(loop_scope="function")
async def scene(tmp_path, caplog):
    caplog.set_level("DEBUG", "mcp_agentbus")
    async with attacked(tmp_path) as scene:
        yield scene
    # The gate, which runs in here, tells its log of nobody's words and names.
    assert not {SECRET.decode(), "planner", "mallory"} & set(re.findall(r"[\w ]+", caplog.text))


@pytest.mark.asyncio(loop_scope="function")
async def test_the_server_lets_an_account_say_nothing_but_to_its_own_gate(scene):
    before = await scene.stands()

    for subject, data in said_of_others(scene.task):
        assert await scene.tried(subject, data) == "not allowed", subject
    for call, data in asked_of_others():
        assert await scene.tried(f"$JS.API.{call}", data) == "not allowed", call
    for token in ("coder_high.1.1.1.1.1", "mallory_high.1.1.1.1.1"):
        assert await scene.tried(f"$JS.ACK.{TASKS}.{token}", b"+ACK") == "not allowed"

    assert await scene.stands() == before
    await scene.goes_on()


@pytest.mark.promise(50)
@pytest.mark.asyncio(loop_scope="function")
async def test_the_gate_refuses_what_is_others_in_words_and_soon(scene):
    before = await scene.stands()

    for subject, data in said_of_others(scene.task):
        assert await scene.tried(GATE + subject, data) in {"not-yours", "name-taken"}, subject
    for call, data in asked_of_others():
        refused = "not-granted" if ".MSG.NEXT." in call and "role-" in call else "not-yours"
        assert await scene.tried(f"{GATE}$JS.API.{call}", data) == refused, call
    for ack in (
        "coder_high.1.1.1.1764170000000000000.0",
        "role-review_high.1.3.1.1764170000000000000.0",
        "coder_high.1.1.1.1764170000000000000.0.x",
        "coder_high",
    ):
        for word in (b"+ACK", b"+TERM", b"-NAK", b"+WPI"):
            assert await scene.tried(f"{GATE}$JS.ACK.{TASKS}.{ack}", word) == "not-yours", ack

    assert await scene.stands() == before
    await scene.goes_on()


@pytest.mark.promise(50)
@pytest.mark.asyncio(loop_scope="function")
async def test_by_a_reader_of_its_own_no_other_s_message_is_settled(scene):
    """The server takes any number of a message: only what it has handed out is meant."""
    before = await scene.stands()
    for seq in range(1, 5):
        for word in (b"+ACK", b"-NAK", b"+WPI"):
            token = f"$JS.ACK.{TASKS}.mallory_high.1.{seq}.1.1764170000000000000.0"
            with suppress(TimeoutError):
                await scene.link.request(GATE + token, word, timeout=0.2)

    assert await scene.stands() == before
    await scene.goes_on()


@pytest.mark.asyncio(loop_scope="function")
async def test_no_answer_lands_where_another_hears_or_stores(scene):
    before = await scene.stands()
    own = "agentbus.coder.tasks.low.mallory"
    requests = [
        (own, b"{}"),
        (f"$JS.API.STREAM.INFO.{TASKS}", b""),
        (f"$JS.API.CONSUMER.INFO.{TASKS}.mallory_high", b""),
        (f"$JS.API.CONSUMER.MSG.NEXT.{TASKS}.mallory_high", b'{"batch":1,"no_wait":true}'),
        ("$JS.API.DIRECT.GET.AGENTBUS_AGENTS", b'{"multi_last":["agentbus.*.profile"]}'),
        ("agentbus.coder.tasks.high.planner", b"refused"),
        ("agentbus-events.mallory.x", b"event"),
        ("agentbus.mallory.heartbeat.z", b"{}"),
    ]
    replies = [
        "agentbus.coder.tasks.high.planner",
        f"agentbus.planner.results.coder.{scene.task}",
        f"$JS.ACK.{TASKS}.coder_high.1.1.1.1.1",
        "agentbus.coder.heartbeat.z",
        f"$JS.API.STREAM.PURGE.{TASKS}",
        "agentbus.coder.profile",
        "agentbus-gate.laptop.agentbus.coder.back",
        f"agentbus-gate.mallory.$JS.API.STREAM.DELETE.{TASKS}",
    ]
    client = scene.link._client
    for subject, data in requests:
        for reply in replies:
            await client.publish(GATE + subject, data, reply=reply)
    # What comes behind is answered: then all before it was.
    for _ in range(3):
        await scene.tried(f"{GATE}$JS.API.INFO")

    after = await scene.stands()
    new = {key: value for key, value in after.items() if before.get(key) != value}
    stored = {value[0] for key, value in new.items() if isinstance(key, tuple)}
    assert stored <= {own}
    await scene.goes_on()


@pytest.mark.asyncio(loop_scope="function")
async def test_what_others_say_and_are_told_is_not_heard(scene):
    heard = []
    for subject in (
        ">", "_INBOX.>", "_R_.>", "agentbus.>", "agentbus.coder.wake.>", "agentbus-for.>",
        "agentbus-for.vps.>", "agentbus-gate.>", "agentbus-gate.laptop.>", "$JS.ACK.>", "$SYS.>",
        "$JS.EVENT.>", "agentbus-accounts.*", "agentbus-answers.*", "agentbus-lobby",
    ):  # fmt: skip
        await scene.link.subscribe(subject, heard.append)
    await scene.link.flush()

    await scene.goes_on()
    await scene.tried(f"{GATE}$JS.API.INFO")

    subjects = {message.subject for message in heard}
    own = f"{scene.link._inbox}."
    assert {each for each in subjects if not each.startswith(own)} == set()
    assert all(SECRET not in message.data for message in heard)


@pytest.mark.promise(55)
@pytest.mark.asyncio(loop_scope="function")
async def test_who_was_removed_hears_nothing_though_the_server_has_yet_to_read_of_it(scene):
    heard = []
    await scene.link.subscribe("agentbus.mallory.>", heard.append)
    record, revision = await store.account(scene.admin, "mallory")
    await store.put(scene.admin, replace(record, state="removed"), revision)
    with suppress(NoResponders):
        while True:  # until the gate goes by that
            with suppress(TimeoutError):
                await scene.link.request(f"{GATE}$JS.API.INFO", timeout=0.3)
    before = len(heard)

    await send_task(scene.planner, "mallory", "Waits", "x", priority="high")
    await scene.goes_on()  # of which others hear behind that
    await scene.link.flush()

    assert heard[before:] == []


EVIL = [
    {"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}, {"Nats-TTL": "1s"}, {"Nats-TTL": "never"},
    {"Nats-Schedule": "@at 2026-11-26T14:00:00Z", "Nats-Schedule-Target": "agentbus.x.due.high.y"},
    {"Nats-Schedule": "@every 1s", "Nats-Schedule-Source": "agentbus.coder.tasks.high.planner"},
    {"Nats-Scheduler": "x", "Nats-Schedule-Next": "purge"}, {"Nats-Expected-Last-Sequence": "1"},
    {"Nats-Expected-Last-Subject-Sequence": "1",
     "Nats-Expected-Last-Subject-Sequence-Subject": "agentbus.coder.tasks.high.planner"},
    {"Nats-Expected-Stream": "AGENTBUS_DEAD"}, {"Nats-Stream-Source": "AGENTBUS_SCHED 1 a.b x"},
    {"Nats-Incr": "1"}, {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
    {"Nats-Fast-Batch": "1"}, {"Nats-Msg-Size": "1"}, {"Nats-Sequence": "1", "Nats-Subject": "x"},
    {"Nats-Required-Api-Level": "99"}, {"Status": "404"}, {"Nats-Marker-Reason": "Remove"},
    {"KV-Operation": "PURGE"}, {"Agentbus-Gate-Subject": "agentbus.coder.tasks.high.planner"},
    {"Agentbus-Gate-Ack": "$JS.ACK.x"}, {"AGENTBUS-GATE-REFUSED": "cut-off"},
    {"Agentbus-Gate-Refused": "cut-off"}, {"Nats-Request-Info": "{}"},
    {"traceparent": "00-0-0-01"}, {"Nats-Pin-Id": "x"}, {"Nats-Num-Pending": "0"},
]  # fmt: skip


@pytest.mark.asyncio(loop_scope="function")
async def test_no_header_but_a_task_s_own_gets_to_a_stream(scene):
    before = await scene.stands()
    profile = await scene.admin.last("AGENTBUS_AGENTS", "agentbus.mallory.profile")
    task = "agentbus.coder.tasks.low.mallory"
    for number, headers in enumerate(EVIL):
        await scene.tried(GATE + task, b"{}", {**headers, "Agentbus-Task": f"t{number}"})
        await scene.tried(f"{GATE}agentbus.mallory.sent.coder.t{number}", b"{}", headers)
        await scene.tried(f"{GATE}agentbus.mallory.heartbeat.q", b'{"kind":"session"}', headers)

    sent = [each for page in [p async for p in scene.admin.stored(TASKS, task)] for each in page]
    ours = {"Agentbus-Task", "Nats-Msg-Id", "Nats-Expected-Stream"}
    by_server = {
        "Nats-Stream",
        "Nats-Subject",
        "Nats-Sequence",
        "Nats-Time-Stamp",
        "Nats-Num-Pending",
    }
    assert len(sent) == len(EVIL)
    assert all(set(each.headers) - by_server - {"Nats-Last-Sequence"} == ours for each in sent)
    after = await scene.stands()
    kept = [key for key in before if isinstance(key, tuple)]
    assert {key: after.get(key) for key in kept} == {key: before[key] for key in kept}
    assert await scene.admin.last("AGENTBUS_AGENTS", "agentbus.mallory.profile") == profile
    signs = await scene.admin.many("AGENTBUS_PRESENCE", {"multi_last": ["agentbus.*.heartbeat.*"]})
    assert {"coder", "planner"} <= {each.subject.split(".")[1] for each in signs}
    await scene.goes_on()


@pytest.mark.asyncio(loop_scope="function")
async def test_a_trace_of_a_message_lands_nowhere(scene):
    """The server follows a message and tells where it went; what it does so it drops, or leaves."""
    before = await scene.stands()
    for dest in ("agentbus.coder.tasks.high.planner", f"$JS.API.STREAM.PURGE.{TASKS}", "_INBOX.x"):
        for only in ({}, {"Nats-Trace-Only": "true"}):
            with suppress(TimeoutError, NoResponders):
                headers = {"Nats-Trace-Dest": dest, **only}
                await scene.link.request(f"{GATE}$JS.API.INFO", b"", headers, timeout=0.2)
    await scene.tried(f"{GATE}$JS.API.INFO")

    assert await scene.stands() == before


@pytest.mark.asyncio(loop_scope="function")
async def test_an_id_that_was_foreseen_keeps_no_other_s_task_out(scene):
    for id_ in ("m1", "laptop.m1", "laptop%2Em1"):
        headers = {"Nats-Msg-Id": id_}
        await scene.tried(f"{GATE}agentbus.coder.tasks.high.mallory", b"{}", headers)
    victim = scene.buses["laptop"]

    async def published():
        link = await victim._live()
        told = await link.request(
            "agentbus.coder.tasks.high.planner", SECRET, {"Nats-Msg-Id": "m1"}
        )
        return json.loads(told.data)

    assert "duplicate" not in await published()
    assert (await published())["duplicate"]


@pytest.mark.promise(51)
@pytest.mark.asyncio(loop_scope="function")
async def test_of_what_is_read_widely_only_what_is_one_s_own_comes(scene):
    await send_task(scene.mallory, "coder", "Mine", "to coder")
    bus = scene.buses["mallory"]
    read = []
    for stream, wanted in (
        (TASKS, "agentbus.>"), (TASKS, "agentbus.*.tasks.*.*"), (SCHEDULE, "agentbus.*.sched.*.*.*"),
        (DEAD, "agentbus.*.dead.*.*"), (RESULTS, "agentbus.*.results.*.*"),
        (RESULTS, "agentbus.*.sent.coder.*"), (RESULTS, f"agentbus.*.sent.*.{scene.task}"),
    ):  # fmt: skip
        for request in (
            {"seq": 1, "batch": 1, "next_by_subj": wanted},
            {"seq": 1, "batch": 100, "next_by_subj": wanted},
            {"multi_last": [wanted]},
        ):
            read += await bus.many(stream, request)
        if last := await bus.last(stream, wanted):
            read.append(last)
        read += await bus.many(stream, {"seq": 1, "batch": 1000})
    assert await bus.last(RESULTS, f"agentbus.planner.sent.coder.{scene.task}") is None

    assert {each.subject.rsplit(".", 1)[0] for each in read} <= {
        "agentbus.coder.tasks.normal", "agentbus.mallory.sent.coder"
    }  # fmt: skip
    assert all(SECRET not in each.data for each in read)
    told = await bus.api(f"STREAM.INFO.{TASKS}", {"subjects_filter": "agentbus.>"})
    assert "planner" not in json.dumps(told["state"]["subjects"])
    for stream in (SCHEDULE, DEAD, RESULTS):
        told = await bus.api(f"STREAM.INFO.{stream}", {"subjects_filter": "agentbus.>"})
        assert "planner" not in json.dumps(told["state"]["subjects"])


ODD = [
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"batch":1e999}',
    b'{"batch":NaN,"no_wait":true}', b'{"seq":18446744073709551616,"batch":1}',
    b'{"seq":1,"batch":1,"next_by_subj":null}', b'{"seq":1,"batch":1,"next_by_subj":["agentbus.>"]}',
    b'{"multi_last":[null]}', b'{"multi_last":[["agentbus.>"]]}', b'{"multi_last":{"a":1}}',
    b'{"filter":1}', b'{"filter":"agentbus.coder.>","seq":9}', b'{"filter":"agentbus.mallory.> "}',
    b'{"subjects_filter":">"}', b'{"subjects_filter":1}', b'{"deleted_details":true}',
    '{"filter":"agentbus.coder.>"}'.encode("utf-16"), b'{"seq":"1"}', b'{"seq":true}', b'{"seq":-1}',
    b'{"roles":{"review":1}}', b'{"roles":[["review"]]}', b'{"roles":["review"]}', b'{"id":"coder"}',
]  # fmt: skip


@pytest.mark.asyncio(loop_scope="function")
async def test_no_body_makes_the_gate_silent_or_do_another_thing(scene):
    before = await scene.stands()
    revision = {"Nats-Expected-Last-Subject-Sequence": "0"}
    places = [
        f"$JS.API.CONSUMER.MSG.NEXT.{TASKS}.mallory_high", f"$JS.API.DIRECT.GET.{TASKS}",
        f"$JS.API.STREAM.PURGE.{DEAD}", f"$JS.API.STREAM.INFO.{RESULTS}",
        f"$JS.API.STREAM.MSG.DELETE.{TASKS}", "$JS.API.STREAM.NAMES", "agentbus.coder.profile",
        "agentbus.mallory.profile", f"agentbus.planner.results.coder.{scene.task}",
    ]  # fmt: skip
    for place in places:
        for body in ODD:
            await scene.tried(GATE + place, body, revision)

    assert await scene.stands() == before
    await scene.goes_on()


@pytest.mark.promise(52)
@pytest.mark.asyncio(loop_scope="function")
async def test_a_name_is_claimed_by_nobody_else_however_it_is_asked_for(scene):
    profile = await scene.admin.last("AGENTBUS_AGENTS", "agentbus.coder.profile")
    for revision in ("0", str(profile.seq), "", "x", "9" * 19, "-1", "1e3"):
        headers = {"Nats-Expected-Last-Subject-Sequence": revision}
        body = b'{"id":"coder","account":"vps","account":"mallory"}'
        outcome = await scene.tried(f"{GATE}agentbus.coder.profile", body, headers)
        assert outcome == "name-taken"
    for name in (
        "Coder",
        "coder ",
        "coder\u00a0",
        "cod\u0435r",
        "coder.x",
        "*",
        ">",
        "role-review",
    ):
        with suppress(Exception):
            await scene.link.request(f"{GATE}agentbus.{name}.profile", b"{}", timeout=0.3)

    assert await scene.admin.last("AGENTBUS_AGENTS", "agentbus.coder.profile") == profile
    profiles = await scene.admin.many("AGENTBUS_AGENTS", {"multi_last": ["agentbus.*.profile"]})
    assert {each.subject for each in profiles} == {
        f"agentbus.{name}.profile" for name in ("planner", "coder", "mallory")
    }


@pytest.mark.asyncio(loop_scope="function")
async def test_what_waits_for_its_time_is_not_pushed_out_by_another_s(scene):
    """The stream drops its oldest where it is full: the gate looks for room, each time."""
    config = (await scene.admin.api(f"STREAM.INFO.{SCHEDULE}"))["config"]
    await scene.admin.api(f"STREAM.UPDATE.{SCHEDULE}", {**config, "max_bytes": 200_000})
    headers = {"Nats-Schedule": f"@at {stamp(now() + timedelta(hours=1))}"}

    answers = [
        await scene.tried(
            f"{GATE}agentbus.coder.sched.high.mallory.t{number}", b"x" * 30_000, headers
        )
        for number in range(12)
    ]

    stored = [json.loads(answer.data) for answer in answers]
    assert [("error" in each) for each in stored] == [False] * 5 + [True] * 7
    state = (await scene.admin.api(f"STREAM.INFO.{SCHEDULE}"))["state"]
    assert state["first_seq"] == 1
    await scene.goes_on()


@pytest.mark.asyncio(loop_scope="function")
async def test_nothing_is_stored_that_is_too_large_to_be_passed_on(scene):
    """The server would end the connection of who is told of it, whoever that is."""
    [receipt] = await send_task(scene.planner, "mallory", "Do", "it")
    await read_inbox(scene.mallory)
    place = f"{GATE}agentbus.planner.results.mallory.{receipt.task_id}"
    refused = 0
    for size in (1 << 20, (1 << 20) - 1_000, (1 << 20) - (17 << 10)):
        body = {"id": receipt.task_id, "status": "completed", "result": "", "v": 1}
        data = json.dumps({**body, "fill": "x" * (size - 100)}).encode()[:size]
        answer = await scene.tried(place, data)
        refused += json.loads(answer.data).get("error", {}).get("err_code") == 10054
    large = {f"Agentbus-X{number}": "x" * 1_900 for number in range(10)}
    answer = await scene.tried(f"{GATE}agentbus.coder.tasks.low.mallory", b"{}", large)

    assert refused == 2
    assert json.loads(answer.data)["error"]["err_code"] == 10054
    await read_inbox(scene.planner)
    await scene.goes_on()


@pytest.mark.asyncio(loop_scope="function")
async def test_counts_of_many_subjects_are_told_by_pages(scene, monkeypatch):
    monkeypatch.setattr(desk, "_COUNTED", 2)
    for lane in ("high", "normal", "low"):
        await send_task(scene.mallory, "coder", "Mine", "to coder", priority=lane)

    told = await stored_tasks(scene.buses["mallory"])

    assert told == {
        **{f"agentbus.coder.tasks.{lane}.mallory": 1 for lane in ("high", "normal", "low")},
        "agentbus.coder.tasks.high.-": 1,
        "agentbus.coder.tasks.normal.-": 1,
        "agentbus.role-review.tasks.normal.-": 1,
    }
