# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a model, on loopback: it calls the tools of a plan and keeps what it was shown.

    with Standin(ANSWERING) as model:
        ...                               # a host whose ANTHROPIC_BASE_URL is model.url
        model.shown                       # the requests that carried tools, oldest first

What stands in a list of its own is called at once. `LATEST` in an argument becomes the id of the
task that the last tool result named. The calls have the ids `toolu_0`, `toolu_1`, and so on.

In its auto mode Claude Code has the API check each call in the same request (`safeguards`), and
runs what is `PASSED`. `model.checks` has the calls of which the check says something else.
"""

import json
import queue
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LATEST = "<latest task>"
# A plan: read a task, and end it.
ANSWERING = [
    ("read_inbox", {}),
    ("publish_result", {"task_id": LATEST, "status": "completed", "summary": "done"}),
]
# What the check of auto mode says of a call; read in Claude Code 2.1.329.
PASSED = {"type": "evaluated", "outcome": "not_flagged"}
BLOCKED = {"type": "evaluated", "outcome": "flagged", "explanation": "it sends text to an agent"}
UNANSWERED = {"type": "unavailable", "reason": "timeout"}
_CHECK = "dangerous_tool_use"
# What is to be shown to it of one urgent task before it reads; of the task's own words nothing.
NOTICE = "1 task waits in your agentbus inbox, it is high priority. Call read_inbox."
CANARY = "zq7canary"
_TASK = re.compile(r"Task ([0-9a-f]{32})")
_WITHIN_S = 150  # only a hang takes as long


class Standin:
    """An Anthropic Messages API by script."""

    def __init__(self, plan=(), *, patient=False):
        """`patient`: while what it would call is not offered, it ends its turn; else it calls."""
        self.plan = list(plan)
        self._patient = patient
        self.shown = []
        self.headers = []  # of the same requests, in lower case
        self.tokens = 10  # how many its requests had, as it reports them
        self.checks = {}  # ids of calls to what the check says of them; None: no check passes here
        self._turns = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def turn(self):
        """Wait for the next request of an agent's turn; return it."""
        return self._turns.get(timeout=_WITHIN_S)

    def answer(self, request):
        """Return the content blocks that answer a request, and why the model stopped."""
        tools = [tool.get("name", "") for tool in request.get("tools") or ()]
        if not tools:
            return [{"type": "text", "text": "ok"}], "end_turn"
        self.shown.append(request)
        self._turns.put(request)
        done = sum(
            block.get("type") == "tool_result"
            for message in request["messages"]
            for block in _blocks(message)
        )
        named = _TASK.findall(json.dumps(request["messages"]))
        first = 0
        for step in self.plan:
            calls = step if isinstance(step, list) else [step]
            if first == done and self._patient and not _offers(tools, calls):
                return [{"type": "text", "text": "NOT YET"}], "end_turn"
            if first == done:
                return [
                    self._use(f"toolu_{first + index}", call, tools, named)
                    for index, call in enumerate(calls)
                ], "tool_use"
            first += len(calls)
        return [{"type": "text", "text": "DONE"}], "end_turn"

    def checked(self, request, blocks):
        """Return what the API adds to an answer whose calls it was asked to check."""
        asked = [each["type"] for each in request.get("safeguards") or ()]
        if _CHECK not in asked or self.checks is None:
            return {}
        uses = [block["id"] for block in blocks if block["type"] == "tool_use"]
        verdicts = {use: self.checks.get(use, PASSED) for use in uses}
        status = {"type": "available", "tool_uses": verdicts}
        return {"safeguard_results": [{"type": _CHECK, "status": status}]}

    @staticmethod
    def _use(use, call, tools, named):
        wanted, given = call
        name = next((one for one in tools if one.endswith("__" + wanted)), wanted)
        given = {key: named[-1] if value == LATEST else value for key, value in given.items()}
        if name not in tools and "tool_call" in tools:  # OpenClaw hides those of servers behind it
            name, given = "tool_call", {"id": f"agentbus__{wanted}", "args": given}
        return {"type": "tool_use", "id": use, "name": name, "input": given}


def _offers(tools, calls):
    return all(any(name.endswith("__" + wanted) for name in tools) for wanted, _ in calls)


def _blocks(message):
    content = message.get("content")
    return [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []


def _events(message, blocks, stop, checked):
    yield "message_start", {"message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            start, delta = (
                {"type": "text", "text": ""},
                {"type": "text_delta", "text": block["text"]},
            )
        else:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield "content_block_start", {"index": index, "content_block": start}
        yield "content_block_delta", {"index": index, "delta": delta}
        yield "content_block_stop", {"index": index}
    delta = {"stop_reason": stop, "stop_sequence": None, **checked}
    yield "message_delta", {"delta": delta, "usage": {"output_tokens": 5}}
    yield "message_stop", {}


def _handler(model):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            """Say nothing."""

        def reply(self, body, kind="application/json"):
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self):
            self.reply(b"")

        def do_GET(self):
            self.reply(json.dumps({"data": [], "has_more": False}).encode())

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            if "count_tokens" in self.path or "/messages" not in self.path:
                self.reply(json.dumps({"input_tokens": 10}).encode())
                return
            if request.get("tools"):
                model.headers.append({name.lower(): value for name, value in self.headers.items()})
            blocks, stop = model.answer(request)
            checked = model.checked(request, blocks)
            message = {
                "id": "msg_1", "type": "message", "role": "assistant",
                "model": request.get("model", "m"), "content": blocks, "stop_reason": stop,
                "stop_sequence": None, "usage": {"input_tokens": model.tokens, "output_tokens": 5},
                **checked,
            }  # fmt: skip
            if not request.get("stream"):
                self.reply(json.dumps(message).encode())
                return
            stream = "".join(
                f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n"
                for name, data in _events(message, blocks, stop, checked)
            )
            self.reply(stream.encode(), "text/event-stream")

    return Handler
