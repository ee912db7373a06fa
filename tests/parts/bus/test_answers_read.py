# SPDX-License-Identifier: Apache-2.0
"""What is made of each answer of a server: what it acknowledges, hands out, refuses."""

import json
from datetime import UTC, datetime

import pytest

from mcp_agentbus.bus import replies
from mcp_agentbus.bus.replies import ApiError, Delivery, Found, Garbled, Message, NotNow, Stored
from mcp_agentbus.errors import InboxFull, Refused, StoreFull, TooLarge

NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
NANOSECONDS = str(int(NOON.timestamp()) * 10**9 + NOON.microsecond * 1000)


def refused(code, description=""):
    return json.dumps({"error": {"err_code": code, "description": description}}).encode()


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (Message("s", b"", {"Status": "404"}), "404"),
        (Message("s", b""), ""),
        (Message("s", b"x", {"Status": "404"}), ""),
        (Message("s", b"", {"Status": "404"}, "reply"), ""),
        (Message("s", b"", {"Status": "404", "Nats-Sequence": "1"}), ""),
    ],
)
def test_a_status_is_what_has_neither_content_nor_a_place_where_it_is_stored(message, status):
    assert message.status == status


@pytest.mark.parametrize(
    ("status", "raised"), [("408", ApiError), ("", Garbled), ("4x", Garbled), ("-1", Garbled)]
)
def test_what_ends_an_answer_and_is_no_end_is_refused_or_passed_over(status, raised):
    with pytest.raises(raised) as caught:
        replies.rest_of({"seq": 1}, Message("s", b"", {"Status": status}), 1)

    assert getattr(caught.value, "code", None) == (408 if raised is ApiError else None)


def ended(status="204", **headers):
    return Message("s", b"", {"Status": status, **{f"Nats-{a}": b for a, b in headers.items()}})


REST = {"Num-Pending": "7", "Last-Sequence": "41"}


@pytest.mark.parametrize(
    ("request_", "came", "rest"),
    [
        ({"seq": 1, "batch": 10}, 4, {"seq": 42, "batch": 6}),
        ({"seq": 1, "batch": 10}, 9, {"seq": 42, "batch": 1}),
        ({"seq": 1, "batch": 10}, 10, None),
        ({"seq": 1, "batch": 10}, 0, None),
        ({"multi_last": ["a"], "start_time": "x"}, 4, {"multi_last": ["a"], "seq": 42}),
        ({"multi_last": ["a"]}, 0, None),
    ],
)
@pytest.mark.parametrize("status", ["204", "404"])
def test_the_rest_of_an_answer_is_asked_for_after_its_last(request_, came, rest, status):
    assert replies.rest_of(request_, ended(status, **REST), came) == rest


@pytest.mark.parametrize(
    "headers",
    [{**REST, "Num-Pending": "0"}, {**REST, "Num-Pending": ""}, {**REST, "Last-Sequence": "x"}, {}],
)
def test_where_no_more_is_pending_or_nobody_says_from_where_there_is_no_rest(headers):
    assert replies.rest_of({"seq": 1, "batch": 10}, ended(**headers), 4) is None


def test_an_answer_that_refuses_nothing_is_what_it_says():
    assert replies.api_answer(b'{"seq": 3}') == {"seq": 3}
    assert replies.api_answer(b'{"error": null, "seq": 3}') == {"seq": 3, "error": None}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"no", b"7", b"[]", b'{"error": 7}', b'{"error": []}',
        *(refused(code) for code in ("x", None, -1, 100_000, 1.5)),
    ],
)  # fmt: skip
def test_what_is_no_answer_counts_as_none(data):
    with pytest.raises(Garbled):
        replies.api_answer(data)


@pytest.mark.parametrize(
    ("data", "kind", "code"),
    [
        (refused(10059, "x"), ApiError, 10059),
        (refused(0), ApiError, 0),
        (refused(99_999), ApiError, 99_999),
        (b'{"error": {}}', ApiError, 0),
        (refused(10008, "x"), NotNow, 10008),
    ],
)
def test_a_refusal_has_its_code_and_is_asked_again_where_it_may_pass(data, kind, code):
    with pytest.raises(ApiError) as caught:
        replies.api_answer(data)

    assert (type(caught.value), caught.value.code) == (kind, code)
    assert caught.value.description == json.loads(data)["error"].get("description", "")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (10008, replies.LEADERLESS),
        (10158, "The bus's servers are still at another write to the same place."),
    ],
)
def test_what_is_to_be_asked_again_says_for_what_it_waits(code, said):
    assert NotNow(code, "x").message == said


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        (10059, "The bus server refused this, with its error 10059.", "Run `agentbus doctor`"),
        (10039, "The bus server answers, and has no JetStream for this login.", "See that it was"),
        (10076, "The bus server answers, and has no JetStream for this login.", "See that it was"),
    ],
)
def test_a_refusal_says_what_to_do_and_repeats_nothing_that_others_may_have_written(
    code, message, hint
):
    error = ApiError(code, "run this")

    assert error.message == message
    assert error.hint.startswith(hint)


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        ("write: no space left on device", "The bus server's disk is full.", "Free some disk"),
        ("disk quota exceeded", "The bus server's disk is full.", "Free some disk"),
        ("error creating store for consumer", "The bus server cannot write", "Run `agentbus doc"),
        ("open a: read-only file system", "The bus server cannot write", "Run `agentbus doctor"),
        ("open a: permission denied", "The bus server cannot write", "Run `agentbus doctor --fix"),
    ],
)
def test_a_disk_without_room_is_said_to_be_full_whatever_the_code(words, said, hint):
    with pytest.raises(StoreFull) as caught:
        replies.api_answer(refused(10012, words))

    assert caught.value.message.startswith(said)
    assert caught.value.hint.startswith(hint)
    assert "then call again" in caught.value.hint


STREAM = {
    "type": "io.nats.jetstream.api.v1.stream_info_response",
    "created": "", "ts": "", "config": {}, "state": {"messages": 0, "bytes": 0, "last_seq": 0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("STREAM.INFO.S", STREAM),
        ("STREAM.INFO.S.more", {**STREAM, "more": 1}),
        ("STREAM.PURGE.S", {"type": "io.nats.jetstream.api.v1.x"}),
    ],
)
def test_an_answer_with_what_its_call_asks_for_is_taken(call, answer):
    assert replies.api_result(call, answer) is answer


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("STREAM.PURGE.S", {}),
        ("STREAM.PURGE.S", {"type": "x.io.nats.jetstream.api."}),
        ("STREAM.INFO.S", {**STREAM, "type": "error"}),
        ("STREAM.INFO.S", {**STREAM, "state": {"messages": 0, "bytes": 0, "last_seq": "1"}}),
        ("STREAM.INFO.S", {**STREAM, "state": 7}),
        ("STREAM.INFO.S", {name: STREAM[name] for name in STREAM if name != "created"}),
        ("CONSUMER.INFO.S.c", STREAM),
    ],
)
def test_an_answer_without_what_its_call_asks_for_is_none(call, answer):
    with pytest.raises(Garbled):
        replies.api_result(call, answer)


def test_an_acknowledgement_has_the_number_and_whether_it_was_there_before():
    assert replies.stored({"seq": 3}) == Stored(3) == Stored(3, duplicate=False)
    assert replies.stored({"seq": 3, "duplicate": True}) == Stored(3, duplicate=True)
    for ack in ({}, {"seq": "3"}):
        with pytest.raises(Garbled):
            replies.stored(ack)


@pytest.mark.parametrize(
    ("code", "description", "kind", "said", "hint"),
    [
        (10077, "maximum messages per subject exceeded", InboxFull, "takes no more", "Wait until"),
        (10077, "maximum messages exceeded", StoreFull, "no room left", "Run `agentbus server st"),
        (10047, "per subject", StoreFull, "no room left", "Run `agentbus server status`"),
        (10023, "", StoreFull, "no room left", "Run `agentbus server status`"),
        (10109, "", Refused, "has sealed a stream", "Run `agentbus doctor --fix`"),
        (10060, "", Refused, "in the place of one of agentbus's", "Run `agentbus doctor --fix`"),
        (10065, "", Refused, "in the place of one of agentbus's", "Run `agentbus doctor --fix`"),
        (10054, "", TooLarge, "larger than the bus takes", ""),
        (10059, "per subject", ApiError, "with its error 10059", "Run `agentbus doctor`"),
    ],
)
def test_a_refused_publish_is_the_error_that_it_means(code, description, kind, said, hint):
    error = replies.refusal(ApiError(code, description))

    assert type(error) is kind
    assert said in error.message
    assert error.hint.startswith(hint)


def test_a_stored_message_is_read_with_its_place_and_time():
    headers = {
        "Nats-Subject": "a.b", "Nats-Sequence": "7",
        "Nats-Time-Stamp": "2026-11-21T12:00:00.250000123Z",
    }  # fmt: skip

    assert replies.found(Message("_INBOX", b"x", headers)) == Found("a.b", 7, NOON, headers, b"x")
    for name in headers:
        lacking = {key: headers[key] for key in headers if key != name}
        for without in (lacking, {**headers, "Nats-Sequence": "x"}):
            with pytest.raises(Garbled):
                replies.found(Message("", b"", without))


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("12:00:00.25Z", 250_000), ("12:00:00Z", 0), ("12:00:00.000001999Z", 1)],
)
def test_a_time_is_read_to_the_microsecond(text, microseconds):
    at = NOON.replace(microsecond=microseconds)
    assert replies.server_time(f"2026-11-21T{text}") == at


TAKEN = f"TASKS.coder_high.3.17.5.{NANOSECONDS}.2"


@pytest.mark.parametrize(
    "token", [f"$JS.ACK.{TAKEN}", f"$JS.ACK.domain.account.{TAKEN}", f"$JS.ACK._.a.{TAKEN}.random"]
)
def test_what_a_pull_brought_is_read_from_where_it_is_finished(token):
    message = Message("a.b", b"x", {"h": "1"}, token)

    brought = replies.delivery("TASKS", message)

    assert brought == Delivery("a.b", b"x", {"h": "1"}, token, "TASKS", 17, 3, NOON, 2)
    assert brought.consumer == "TASKS.coder_high"


def test_a_message_is_stored_at_one_time_whether_it_is_pulled_or_read():
    at = "1795262400999999999"  # by a float of seconds it were of the next
    token = f"$JS.ACK.TASKS.coder_high.3.17.5.{at}.2"

    pulled = replies.delivery("TASKS", Message("a.b", b"x", {}, token)).stored_at

    assert pulled == replies.server_time(f"{pulled:%Y-%m-%dT%H:%M:%S}.{at[-9:]}Z")


@pytest.mark.parametrize(
    "token",
    ["", "$JS.ACK.TASKS.c.3", f"$JS.ACK.TASKS.c.3.17.5.{'9' * 40}.2", "$JS.ACK.TASKS.c.x.1.2.3.4"],
)
def test_what_has_no_place_where_it_is_finished_is_no_delivery(token):
    with pytest.raises(Garbled):
        replies.delivery("TASKS", Message("a.b", b"x", {}, token))


def test_what_was_read_and_not_taken_was_offered_once():
    read = Found("a.b", 7, NOON, {"h": "1"}, b"x")

    assert replies.untaken("TASKS", read) == Delivery(
        "a.b", b"x", {"h": "1"}, "", "TASKS", 7, 1, NOON, 0
    )
    assert replies.untaken("TASKS", read, "t", 3) == Delivery(
        "a.b", b"x", {"h": "1"}, "t", "TASKS", 7, 1, NOON, 3
    )


@pytest.mark.parametrize("code", [10002, 10023, 10077])
def test_where_the_server_has_no_room_it_is_that_which_is_said(code):
    assert isinstance(replies.refusal(ApiError(code, "")), StoreFull)
    there = replies.refusal(ApiError(code, ""), is_shared=True)
    assert isinstance(there, StoreFull)
    assert "server status" not in there.hint
