# SPDX-License-Identifier: Apache-2.0
"""Another session that behaves badly: it floods with calls, or reads none of its answers.

    $ AGENTBUS_HOME=/tmp/bus python neighbour.py flood 32     # always 32 calls without an answer
    on

It goes on until it is ended, or stopped for a while by SIGSTOP.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from typing import Any

from homes import serving

# A session that has taken nothing for so long takes no more.
_HANGS_S = 1.0


def _line(number: int, method: str, params: dict[str, Any]) -> bytes:
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return json.dumps(message).encode() + b"\n"


def _call(number: int) -> bytes:
    return _line(number, "tools/call", {"name": "list_agents", "arguments": {}})


def main(kind: str, outstanding: int) -> None:
    pipe = subprocess.PIPE
    process = subprocess.Popen(serving("neighbour"), stdin=pipe, stdout=pipe, bufsize=0)
    to, answers = process.stdin.fileno(), process.stdout
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
    os.write(to, _line(0, "initialize", {**hello, "clientInfo": {"name": "n", "version": "0"}}))
    answers.readline()
    os.write(to, b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
    if kind == "hang":
        _hang(to)
    _flood(to, answers, outstanding)


def _flood(to: int, answers: Any, outstanding: int) -> None:
    for number in range(outstanding):
        os.write(to, _call(1 + number))
    print("on", flush=True)
    number = outstanding
    while chunk := os.read(answers.fileno(), 1 << 16):
        for _ in range(chunk.count(b"\n")):
            number += 1
            os.write(to, _call(number))


def _hang(to: int) -> None:
    os.set_blocking(to, False)
    number = 0
    while select.select([], [to], [], _HANGS_S)[1]:
        number += 1
        os.write(to, _call(number))
    print("on", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
