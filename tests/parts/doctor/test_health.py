# SPDX-License-Identifier: Apache-2.0
"""What a shared server's monitoring says of its writing, on its own machine."""

import io
import json
import socket

import pytest

from mcp_agentbus.doctor.shared import health

_STREAM = "JetStream stream 'BUS > AGENTBUS_TASKS' write error: write /srv/4.blk: "


@pytest.fixture
def told(monkeypatch):
    """Have the monitoring answer with what is put there; return where it was asked, too."""
    answers, asked = [], []

    class Connection:
        def __init__(self, host, port, timeout):
            asked.append((host, port, timeout))

        def request(self, how, what):
            assert (how, what) == ("GET", "/healthz")

        def getresponse(self):
            if isinstance(answers[0], Exception):
                raise answers[0]
            return io.BytesIO(answers[0])

        def close(self):
            asked.append("closed")

    monkeypatch.setattr(health.http.client, "HTTPConnection", Connection)
    return answers, asked


@pytest.mark.parametrize(
    ("why", "said", "fix"),
    [
        ("no space left on device", "its disk was full, and", "Free some disk space: df -h."),
        ("input/output error", "a write has failed (input/output error), and", "See its log"),
    ],
)
async def test_a_server_that_stores_nothing_more_is_told_of_where_it_runs(told, why, said, fix):
    answers, asked = told
    answers.append(json.dumps({"status": "unavailable", "error": _STREAM + why}).encode())

    (check,) = await health.checks("tls://127.0.0.1:4222")

    assert (check.name, check.state) == ("server", "wrong")
    assert check.said == f"{said} it stores nothing until it is started anew"
    assert check.fix.startswith(fix)
    assert "restart agentbus-server.service" in check.fix
    assert asked == [("127.0.0.1", 8222, 3.0), "closed"]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"status":"ok"}',
        b'{"error":"JetStream is not current"}',
        b"<html>",
        b"[1]",
        b"\xff",
        ConnectionRefusedError(),
    ],
)
async def test_of_a_server_that_tells_of_no_failed_write_nothing_is_said(told, answer):
    answers, asked = told
    answers.append(answer)

    assert await health.checks("tls://127.0.0.1:4222") == []
    assert asked[-1] == "closed"


@pytest.mark.parametrize(
    ("leads_to", "is_asked"),
    [("127.0.0.1", True), ("192.0.2.1", False), (OSError(), False)],
)
async def test_one_is_here_whose_name_leads_to_this_machine_and_of_no_other_anybody_is_asked(
    told, monkeypatch, leads_to, is_asked
):
    def found(host, port, **kind):
        assert host == "bus.example.org"
        if isinstance(leads_to, OSError):
            raise leads_to
        return [(socket.AF_INET, kind["type"], 0, "", (leads_to, port))]

    monkeypatch.setattr(health.socket, "getaddrinfo", found)
    answers, asked = told
    answers.append(b'{"status":"ok"}')

    assert await health.checks("tls://bus.example.org:4222") == []
    assert bool(asked) is is_asked
