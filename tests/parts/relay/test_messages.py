# SPDX-License-Identifier: Apache-2.0
"""A line of a host is a message, or is answered: for its id if that can be read, else for none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import jsonrpc_message_adapter

from mcp_agentbus.core import lines
from mcp_agentbus.core.lines import Lines
from mcp_agentbus.relay import messages
from mcp_agentbus.relay.messages import LINE_MAX_BYTES, HostMessage, NoMessage

PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS = -32700, -32600, -32602


def request(params=b"{}", request_id=b"7", method=b'"tools/call"'):
    return b'{"jsonrpc":"2.0","id":%s,"method":%s,"params":%s}\n' % (request_id, method, params)


def nested(depth):
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}"


def refused(line):
    """Return the id and code with which a line is refused."""
    said = messages.read(line)
    assert isinstance(said, NoMessage), said
    assert said.answer.endswith(b"\n")
    answer = json.loads(said.answer)
    assert answer["jsonrpc"] == "2.0"
    assert answer["error"]["message"].startswith("The line was not read: ")
    return answer["id"], answer["error"]["code"]


@pytest.mark.parametrize(
    ("line", "request_id"),
    [
        (request(b'"x"'), 7),
        (request(b"[]"), 7),
        (request(method=b"7"), 7),
        (b'{"jsonrpc":"2.0","id":7}\n', 7),
        (b'{"id":"a","method":"ping"}\n', "a"),
        (b'{"jsonrpc":"1.0","id":-1,"method":"ping"}\n', -1),
        (request(request_id=rb'"\ud83d"'), "\ud83d"),
        (request(b'"x"', request_id=b"9" * 300), int("9" * 300)),
        (request(nested(101)), 7),
        (request(nested(300)), 7),
        (request(nested(100_000)), 7),
        (b'{"method":"ping","params":%s,"jsonrpc":"2.0","id":7}\n' % nested(100_000), 7),
        (b'{"params":%s,"id":"\\"7","jsonrpc":"2.0"}\r\n' % nested(100_000), '"7'),
        (request(b'{"a":[' + b"0," * 10_000 + b"0]}"), 7),
        (request(rb'{"arguments":"{\"a\":%s}"}' % (rb"\u005b" * 200 + b"]" * 200)), 7),
        (request(rb'{"arguments":"{\"a\":[%s0]}"}' % (b"0," * 10_000)), 7),
        (b'{"params":{"arguments":"%s"},"id":7,"method":"x"}\n' % (b"[" * 9_000), 7),
    ],
    ids=lambda value: value[:60] if isinstance(value, bytes) else None,
)
def test_a_request_that_cannot_be_served_is_refused_for_its_id(line, request_id):
    assert refused(line) == (request_id, INVALID_REQUEST)


@pytest.mark.parametrize("arguments", [b"7", b"true", b'"coder"', b'"{"', b"[1]"])
def test_a_call_whose_arguments_have_no_names_is_told_what_they_are(arguments):
    said = json.loads(messages.read(request(b'{"arguments":%s}' % arguments)).answer)

    assert (said["id"], said["error"]["code"]) == (7, INVALID_PARAMS)
    told = said["error"]["message"]
    assert 'its arguments are no object such as {"limit": 5}. Nothing was done' in told


@pytest.mark.parametrize(
    "line",
    [
        *(request(request_id=each) for each in (b"null", b"1.5", b"1.0", b"true", b"{}", b"[]")),
        request(request_id=b"9" * 301),
        request(request_id=nested(300)),
        b"[]\n",
        b"[1]\n",
        b'[{"jsonrpc":"2.0","method":"notifications/initialized"}]\n',
        b'[{"jsonrpc":"2.0","id":7,"result":{}}]\n',
        *(b"7\n", b'"x"\n', b"null\n", b"NaN\n"),
        b'{"jsonrpc":"2.0"}\n',
        b'{"jsonrpc":"2.0","method":"x","params":"x"}\n',
        b"[" * 100_000 + b"\n",
        b'{"a":%s,"b":{"id":7}}\n' % (b"[" * 2000 + b"]" * 2000),
    ],
    ids=lambda line: line[:60],
)
def test_what_has_no_id_that_can_be_read_is_refused_for_none(line):
    assert refused(line) == (None, INVALID_REQUEST)


def test_a_batch_is_refused_for_each_of_its_requests_and_once_for_what_has_no_id():
    notice = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    told = b'{"jsonrpc":"2.0","id":9,"result":{}}'
    ids = (b"7", b'"7"', b"7", b"null", b"1.5")
    asked = [request(request_id=each)[:-1] for each in ids]

    said = messages.read(b"[" + b",".join([*asked, notice, told, b"5"]) + b"]\n")

    answers = [json.loads(line) for line in said.answer.splitlines()]
    assert [answer["id"] for answer in answers] == [7, "7", None]
    assert {answer["error"]["code"] for answer in answers} == {INVALID_REQUEST}


@pytest.mark.parametrize(
    ("line", "request_id"),
    [
        *((line, None) for line in (b"no JSON\n", b"\xff\xfe\x00\n", b"\x00\n")),
        (request()[:-2] + b"\n", 7),
        (request(b'{"a":"\t"}'), 7),
        (request(b'{"a":1,}'), 7),
        (request(rb'{"a":"\x"}'), 7),
        (b'{"params":{"a":"\t"},"id":7}\n', 7),
        (b'{"params":{"id":7},"a":"\t"}\n', None),
    ],
)
def test_what_is_no_json_is_refused_as_such_for_the_id_at_an_end_of_it(line, request_id):
    assert refused(line) == (request_id, PARSE_ERROR)


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":7,"result":7}\n',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}\n',
        b'{"error":"x"}\n',
        b"\n",
        b" \t\r\n",
    ],
)
def test_a_response_is_not_answered_and_blanks_are_passed_over(line):
    assert messages.read(line) is None


@pytest.mark.parametrize(
    ("given_", "meant"),
    [
        (request(), request()),
        (b"\xef\xbb\xbf" + request(), request()),
        (request()[:-1] + b" \r\n", request()),
        (request(rb'{"a":"\ud83d\ude00 \u00e9"}'), request('{"a":"😀 é"}'.encode())),
        (b'{"id":1,"jsonrpc":"2.0","id":2,"method":"x"}\n',) * 2,
        (request(nested(98)), request(nested(98))),
        (request(request_id=b'"7"'), request(request_id=b'"7"')),
        *(
            (request(b'{"arguments":%s}' % written), request(b'{"arguments":%s}' % read))
            for written, read in (
                (rb'"{\"limit\": 2, \"query\": \"{}\"}"', b'{"limit":2,"query":"{}"}'),
                (b'""', b"{}"),
                (b'"null"', b"{}"),
                (b'"[]"', b"{}"),
                (b"[]", b"{}"),
                (b"null", b"null"),
            )
        ),
        (b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n',) * 2,
    ],
)
def test_a_message_goes_on_as_json_that_any_reader_takes(given_, meant):
    said = messages.read(given_)

    assert isinstance(said, HostMessage)
    assert said.content == json.loads(said.line) == json.loads(meant)
    assert jsonrpc_message_adapter.validate_json(said.line, by_name=False)


@pytest.mark.parametrize(
    ("text", "meant", "count"),
    [
        (rb"cut \ud83d", "cut \ufffd", 1),
        (rb"\ude00\ud83d", "\ufffd\ufffd", 2),
        (b"\xff", "\ufffd", 1),
        (b"\xed\xa0\xbd", "\ufffd\ufffd\ufffd", 3),
        (rb"\\ud83d", "\\ud83d", None),
    ],
)
def test_what_is_no_text_becomes_a_sign_for_that_and_the_server_is_told_how_often(
    text, meant, count
):
    said = messages.read(request(b'{"a":{"%s":"%s"}}' % (text, text)))

    sent = json.loads(said.line)["params"]
    meta = sent.pop("_meta", {})
    assert sent == {"a": {meant: meant}}
    assert meta == ({lines.NO_TEXT: 2 * count} if count else {})


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e400", b"1" + b"0" * 5000])
def test_a_number_that_is_none_is_for_the_server_to_refuse(number):
    said = messages.read(request(b'{"a":%s}' % number))

    assert jsonrpc_message_adapter.validate_json(said.line, by_name=False)


def read_in_pieces(line, size=65_536):
    stream = Lines(LINE_MAX_BYTES)
    found = [
        each
        for start in range(0, len(line), size)
        for each in stream.ended_by(line[start : start + size])
    ]
    return [messages.read(each) for each in found]


def test_a_line_of_the_full_length_is_read_and_a_longer_one_refused_for_its_id():
    room = LINE_MAX_BYTES - len(request(b'{"a":""}')) + 1
    longest, longer = (request(b'{"a":"%s"}' % (b"x" * size)) for size in (room, room + 1))
    last = b'{"params":{"id":8,"a":"\\"id\\":9}%s"},"jsonrpc":"2.0","id":7}\n' % (
        b"x" * LINE_MAX_BYTES
    )

    [read] = read_in_pieces(longest)
    assert read.line == longest
    for line in (longer, last):
        [said] = read_in_pieces(line)
        assert json.loads(said.answer)["id"] == 7
        assert json.loads(said.answer)["error"]["code"] == INVALID_REQUEST
    [said] = read_in_pieces(b'{"a":"' + b'"id":7}' * 2_000_000 + b'"}}\n')
    assert json.loads(said.answer)["id"] is None


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_line_at_all_goes_unread(line):
    said = messages.read(line.replace(b"\n", b" ") + b"\n")

    if isinstance(said, HostMessage):
        assert jsonrpc_message_adapter.validate_json(said.line, by_name=False)
    else:
        assert said is None or json.loads(said.answer)["error"]
