# SPDX-License-Identifier: Apache-2.0
"""OpenClaw's waker against a gateway on loopback: what it is sent, and what each answer means."""

import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from certificates import Authority
from local_server import script
from noticed import telling
from posting import taking_posts

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.wakes.hosts import openclaw, peer
from mcp_agentbus.wakes.hosts.protocol import WakeOrder

TOKEN = "hook-secret-1"


@pytest.fixture
def gateway():
    """A gateway that answers with `status`, or not at all, and keeps what it was sent."""
    seen = SimpleNamespace(status=200, requests=[], hangs=threading.Event())
    seen.hangs.set()

    def take(path, headers, body):
        seen.requests.append((path, headers["Authorization"], json.loads(body)))
        seen.hangs.wait(20)
        return seen.status

    with taking_posts(take) as seen.url:
        yield seen
        seen.hangs.set()


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def call(tmp_path, token):
    def make(url, *, token_file=token, path="/nowhere"):
        rules = Rules("coder", "openclaw", tmp_path, "answer", url=url, token_file=token_file)
        return WakeOrder(rules, telling("1 task waits."), {"PATH": str(path)}, lambda _: None)

    return make


@pytest.fixture
def nobody():
    """A URL where nobody listens: the port is taken and does not take connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_a_gateway_of_a_private_ca_is_known_by_what_openssl_trusts(
    call, tmp_path, monkeypatch
):
    authority = Authority(tmp_path, "Example CA")
    with taking_posts(lambda *_: 200, authority.issued("gateway")) as url:
        untrusted = await openclaw.wake(call(url))
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        trusted = await openclaw.wake(call(url))

    assert (untrusted.outcome, trusted.outcome) == ("failed", "asked")
    assert untrusted.said.startswith("the certificate of its gateway is not trusted: unable to get")
    assert "SSL_CERT_FILE" in untrusted.said


async def test_another_user_who_has_taken_the_gateways_port_is_not_told_the_token(
    gateway, call, monkeypatch
):
    monkeypatch.setattr(peer, "owner", lambda _: 4711)

    ended = await openclaw.wake(call(gateway.url))

    assert (ended.outcome, gateway.requests) == ("failed", [])
    assert ended.said.startswith("another user of this machine listens at its url")


async def test_the_gateway_gets_the_notice_and_the_token(gateway, call):
    ended = await openclaw.wake(call(gateway.url + "/"))

    assert (ended.outcome, ended.said) == ("asked", "its gateway took the notice")
    assert gateway.requests == [
        ("/hooks/wake", f"Bearer {TOKEN}", {"text": "1 task waits.", "mode": "now"})
    ]


@pytest.mark.promise(40)
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refused the token. Hint: token_file must hold hooks.token"),
        (404, "has no wake hook. Hint:"),
        (429, "no more calls now. Hint:"),
        (302, "HTTP status 302. Hint: check url"),
        (500, "HTTP status 500. Hint: check url"),
    ],
)
async def test_another_answer_is_a_failure_with_a_hint_and_without_the_token(
    gateway, call, status, said
):
    gateway.status = status

    ended = await openclaw.wake(call(gateway.url))

    assert ended.outcome == "failed"
    assert said in ended.said
    assert TOKEN not in repr(ended)
    assert len(gateway.requests) == 1


async def test_nobody_waits_for_a_gateway_who_no_longer_wants_to_know(call, monkeypatch):
    """Of a thread of asyncio's own a listener that ends would wait for the gateway's answer."""
    asked = []

    def post(*_):
        asked.append(threading.current_thread())
        return 200

    monkeypatch.setattr(openclaw, "_post", post)

    await openclaw.wake(call("http://127.0.0.1:1"))

    assert [thread.daemon for thread in asked] == [True]


async def test_a_gateway_that_hangs_is_given_up(gateway, call, monkeypatch):
    monkeypatch.setattr(openclaw, "_ANSWER_TIMEOUT_S", 0.2)
    gateway.hangs.clear()

    ended = await openclaw.wake(call(gateway.url))

    assert (ended.outcome, ended.said) == ("failed", "its gateway did not answer within 0 s")


async def test_what_speaks_no_http_is_told(call):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            connection.recv(4096)
            connection.sendall(b"SSH-2.0\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        ended = await openclaw.wake(call(f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()

    assert ended.outcome == "failed"


async def test_a_gateway_that_does_not_run_is_told(call, nobody):
    ended = await openclaw.wake(call(nobody))

    assert (ended.outcome, ended.said) == ("not_started", "its gateway does not run")


@pytest.mark.parametrize(
    ("file", "unit"),
    [
        ("openclaw-hooks.token", "openclaw-gateway"),
        ("openclaw-hooks-work.token", "openclaw-gateway-work"),
        ("a-file-of-mine", "openclaw-gateway"),
    ],
)
async def test_without_its_own_service_nothing_is_started(call, nobody, token, file, unit):
    folder = token.parent
    script(folder / "systemctl", f"echo $* >> {folder}/asked; exit 1")

    ended = await openclaw.wake(call(nobody, token_file=token.rename(folder / file), path=folder))

    assert ended.outcome == "not_started"
    assert (folder / "asked").read_text() == f"--user cat {unit}\n"


async def test_its_service_is_started_once_and_then_asked(gateway, call, tmp_path, monkeypatch):
    monkeypatch.setattr(openclaw, "_LOOK_AGAIN_S", 0)
    script(tmp_path / "systemctl", f"echo $* >> {tmp_path}/asked")
    post, refusals = openclaw._post, iter(range(2))

    def refused_twice(*given):
        if next(refusals, None) is not None:
            raise ConnectionRefusedError
        return post(*given)

    monkeypatch.setattr(openclaw, "_post", refused_twice)

    ended = await openclaw.wake(call(gateway.url, path=tmp_path))

    assert ended.outcome == "asked"
    verbs = [line.split()[1] for line in (tmp_path / "asked").read_text().splitlines()]
    assert verbs == ["cat", "start"]


async def test_a_service_that_does_not_come_up_is_told(call, nobody, tmp_path, monkeypatch):
    monkeypatch.setattr(openclaw, "_UP_TIMEOUT_S", 0.1)
    monkeypatch.setattr(openclaw, "_LOOK_AGAIN_S", 0.01)
    script(tmp_path / "systemctl")

    ended = await openclaw.wake(call(nobody, path=tmp_path))

    assert ended.said == "its gateway was started but does not answer"


async def test_a_systemctl_that_hangs_is_given_up(call, nobody, tmp_path, monkeypatch):
    monkeypatch.setattr(openclaw, "_SYSTEMCTL_TIMEOUT_S", 0.2)
    script(tmp_path / "systemctl", "exec /usr/bin/tail -f /dev/null")
    start = time.monotonic()

    assert (await openclaw.wake(call(nobody, path=tmp_path))).outcome == "not_started"
    assert time.monotonic() - start < 5


@pytest.mark.promise(41)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
async def test_a_token_file_that_is_open_to_others_is_refused(gateway, call, token, mode):
    token.chmod(mode)

    ended = await openclaw.wake(call(gateway.url))

    assert ended.outcome == "failed"
    assert f"{token} is open to other users" in ended.said
    assert gateway.requests == []


@pytest.mark.parametrize("content", ["", "two words", "a\nb", "é", "a\x1bb"])
async def test_a_token_file_without_a_token_is_refused(gateway, call, token, content):
    token.write_text(content)

    ended = await openclaw.wake(call(gateway.url))

    assert f"{token} holds no token" in ended.said
    assert content == "" or content not in ended.said
    assert gateway.requests == []


async def test_a_token_file_must_be_set_and_be_there(gateway, call, tmp_path):
    not_set = await openclaw.wake(call(gateway.url, token_file=None))
    gone = await openclaw.wake(call(gateway.url, token_file=tmp_path / "gone"))

    assert not_set.said == (
        "token_file is not set. Hint: Run `agentbus install openclaw`, then `agentbus agent add "
        "coder --replace`; or `agentbus agent add coder --replace --token-file FILE`"
    )
    assert gone.said.startswith(f"{tmp_path / 'gone'} cannot be read: No such file")


async def test_a_token_goes_to_loopback_or_over_tls_only(call, monkeypatch):
    monkeypatch.setattr(openclaw, "_post", lambda *_: pytest.fail("it was sent"))

    ended = await openclaw.wake(call("http://example.org"))

    assert ended.outcome == "failed"
    assert ended.said.startswith("gateway_url is ")
