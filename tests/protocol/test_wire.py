# SPDX-License-Identifier: Apache-2.0
"""Whatever a host writes, line by line, is answered, and the session goes on; either way, each era.

Which line is answered how, `tests/parts/relay/test_messages.py` has in full.
"""

import json
import uuid
from collections import Counter

import pytest
import served
from served import LEGACY, MODERN, Pipes

INVALID_REQUEST, PARSE_ERROR, INVALID_PARAMS = -32600, -32700, -32602
MEGABYTE = 1024 * 1024


@pytest.fixture
def server(home, way):
    with Pipes(
        served.environ(home.data_dir.parent), agent=f"wire-{uuid.uuid4().hex[:8]}"
    ) as server:
        yield server


def request(request_id, params, era, method="tools/call"):
    """Return a request as a host writes it, with its id and its params as they are."""
    meta = json.dumps(
        {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "pipes", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    )
    meta = b'"_meta":' + (meta.encode() if era == MODERN else b"{}")
    params = params[:-1] + (b"," if len(params) > 2 else b"") + meta + b"}"
    head = b'{"jsonrpc":"2.0","id":%s,"method":"%s"' % (request_id, method.encode())
    return head + b',"params":' + params + b"}"


def tool(name, arguments):
    return b'{"name":"%s","arguments":%s}' % (name, arguments)


def written(era):
    """Return lines as a host may write them, each with the id and the outcome of its answer."""
    deep, wide = (b'{"limit":%s}' % (each * 300) for each in (b"[", b"[],"))
    deep = deep.replace(b"[}", b"[" + b"]" * 300 + b"}")
    listing, calling = b"{}", lambda arguments: tool(b"read_inbox", arguments)
    return [
        (request(b"1", b'{"a":"\\ud83d"}', era, "tools/list"), 1, "result"),
        (request(b"2", b'{"a":"\xff"}', era, "tools/list"), 2, "result"),
        (request(b"3", calling(deep), era), 3, INVALID_REQUEST),
        (request(b"4", calling(b'"x"'), era), 4, INVALID_PARAMS),
        (request(b"5", calling(b'{"\\ud83d":1}'), era), 5, "isError"),
        (request(b"6", tool(b"watch_inbox", b'{"timeout_s":1%s}' % (b"0" * 5000)), era), 6, "isError"),
        (request(b"7", tool(b"send\\udc00", b"{}"), era), 7, "isError"),
        (request(b'"\\ud83d"', listing, era, "tools/list"), "\ud83d", INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":8,"method":"tools/list","params":"x"}', 8, INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":9,"method":7}', 9, INVALID_REQUEST),
        (request(b"10", tool(b"x", b'{"a":"%s"}' % (b"x" * 9 * MEGABYTE)), era), 10, INVALID_REQUEST),
        (request(b"11", tool(b"x", b'{"a":"%s"}' % (b"x" * 7 * MEGABYTE)), era), 11, "isError"),
        (request(b"1.5", listing, era, "tools/list"), None, INVALID_REQUEST),
        (request(b"null", listing, era, "tools/list"), None, INVALID_REQUEST),
        (b"[" + request(b"12", listing, era, "tools/list") + b"]", 12, INVALID_REQUEST),
        (b"\xff\xfe\x00", None, PARSE_ERROR),
        (wide, None, PARSE_ERROR),
        # These four nobody waits for.
        (b"", None, None),
        (b'{"jsonrpc":"2.0","id":13,"result":7}', None, None),
        (b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}', None, None),
        (b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}', None, None),
        (b"\xef\xbb\xbf" + request(b"14", listing, era, "tools/list") + b"\r", 14, "result"),
        # One id at once for three of them, the first of which takes its time.
        (request(b"15", tool(b"watch_inbox", b'{"timeout_s":0.5}'), era), 15, "result"),
        *[(request(b"15", listing, era, "tools/list"), 15, "result")] * 2,
    ]  # fmt: skip


def outcome(message):
    if "error" in message:
        return message["error"]["code"]
    return "isError" if message["result"].get("isError") else "result"


def test_every_line_is_answered_and_the_session_goes_on(server, era):
    lines = written(era)
    server.greet(era)
    server.process.stdin.buffer.write(b"".join(line + b"\n" for line, _, _ in lines))
    expected = Counter((request_id, how) for _, request_id, how in lines if how)

    answers = [server.message() for _ in range(expected.total())]

    assert Counter((answer["id"], outcome(answer)) for answer in answers) == expected
    assert server.call("list_agents", era=era)
    assert "Traceback" not in server.said()


def test_what_is_no_text_in_a_task_is_stored_as_a_sign_for_that_and_the_receipt_says_so(
    server, era
):
    server.greet(era)
    to_itself = {"to": server.agent, "subject": "s\ud83d", "body": "cut \ud83d"}
    server.call("list_agents", era=era)

    receipt = server.call("send_task", era=era, **to_itself)
    task = server.call("read_inbox", era=era)["content"][0]["text"]

    assert "2 characters were no text" in receipt["structuredContent"]["note"]
    assert "U+FFFD" in receipt["content"][0]["text"]
    assert "Subject: s\ufffd" in task
    assert "cut \ufffd" in task
    assert (
        "note"
        not in server.call("send_task", era=era, to=server.agent, subject="s", body="b")[
            "structuredContent"
        ]
    )


def test_what_is_said_right_before_the_end_of_the_input_is_answered_with_or_without_an_end(server):
    server.process.stdin.buffer.write(
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
        b'"capabilities":{},"clientInfo":{"name":"pipes","version":"1"}}}\n'
        + request(b"2", tool(b"list_agents", b"{}"), LEGACY) + b"\n"
        + request(b"3", b"{}", LEGACY, "tools/list")
    )  # fmt: skip
    server.process.stdin.close()

    assert {answer["id"]: outcome(answer) for answer in server.rest()} == dict.fromkeys(
        (1, 2, 3), "result"
    )
    assert server.process.wait(served.ANSWER_WITHIN_S) == 0
