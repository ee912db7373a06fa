# SPDX-License-Identifier: Apache-2.0
"""OpenClaw: its gateway, which runs anyway, is told by its wake hook.

    POST http://127.0.0.1:18789/hooks/wake   {"text": NOTICE, "mode": "now"}

The gateway puts the notice before its main session as data, not as a user's words. The token comes
from a 0600 file and is in no message. Who has taken the gateway's port meanwhile gets none, where
it can be told that this is another user; by `https` the certificate tells.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.config.values import gateway, profile_of
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.core.files import check_private, read_whole
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.wakes.hosts import peer
from mcp_agentbus.wakes.hosts.process import run
from mcp_agentbus.wakes.hosts.protocol import Ended, WakeOrder, on_path

_UNIT: Final = "openclaw-gateway"
# It answers before a model is asked: in less than a second.
_ANSWER_TIMEOUT_S: Final = 10.0
# `systemctl` waits for a start job; this unit's ends as soon as its process is there.
_SYSTEMCTL_TIMEOUT_S: Final = 20.0
# A gateway was up 12 to 30 s after its start.
_UP_TIMEOUT_S: Final = 60.0
_LOOK_AGAIN_S: Final = 1.0
# Its answer is a line; more is not read.
_ANSWER_MAX_BYTES: Final = 64 * 1024
#: What to do where an agent, by its id, has no token file.
UNSET: Final = (
    "Run `agentbus install openclaw`, then `agentbus agent add {0} --replace`; or `agentbus agent "
    "add {0} --replace --token-file FILE`."
)
_ANOTHERS: Final = (
    "another user of this machine listens at its url, and was told no token. Hint: see who, "
    "by `ss -ltnp` as root, and start the gateway as this user; one of another user needs https"
)
_NOT_TAKEN: Final = {
    401: "its gateway refused the token. Hint: token_file must hold hooks.token of openclaw.json",
    404: "its gateway has no wake hook. Hint: set hooks.enabled and hooks.token in openclaw.json",
    429: "its gateway takes no more calls now. Hint: too many had a wrong token; wait a minute",
}


class _Another(OSError):
    """Who listens is another user of this machine."""


async def wake(call: WakeOrder) -> Ended:
    """Hand the notice to the gateway; start its service first where one is installed."""
    try:
        url, token = gateway(call.rules.url), _token(call.rules)
    except BadSetup as error:
        return Ended("failed", str(error).removesuffix("."))
    notice = await call.notice()
    try:
        return await _ask(url, token, notice)
    except ConnectionRefusedError:
        pass
    if not await _start_service(call):
        return Ended("not_started", "its gateway does not run")
    give_up = time.monotonic() + _UP_TIMEOUT_S
    while time.monotonic() < give_up:
        try:
            return await _ask(url, token, notice)
        except ConnectionRefusedError:
            await asyncio.sleep(_LOOK_AGAIN_S)
    return Ended("not_started", "its gateway was started but does not answer")


def _token(rules: Rules) -> str:
    """Return the secret of the wake hook.

    Raises:
        BadSetup: no file is set, or it is not there, is open to others or holds no token.
    """
    path = rules.token_file
    if path is None:
        raise BadSetup("token_file is not set.", hint=UNSET.format(rules.agent))
    try:
        check_private(path)
        token = read_whole(path).decode(errors="replace").strip()
    except OSError as error:
        raise BadSetup(f"{path} cannot be read: {error.strerror}.") from None
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise BadSetup(f"{path} holds no token.", hint="It is hooks.token of openclaw.json.")
    return token


async def _ask(url: SplitResult, token: str, notice: str) -> Ended:
    """Post the notice.

    Raises:
        ConnectionRefusedError: nobody listens there.
    """
    try:
        status = await in_thread(_post, url, token, notice)
    except ConnectionRefusedError:
        raise
    except TimeoutError:
        return Ended("failed", f"its gateway did not answer within {_ANSWER_TIMEOUT_S:.0f} s")
    except ssl.SSLCertVerificationError as error:
        why = f"the certificate of its gateway is not trusted: {error.verify_message}"
        return Ended("failed", f"{why}. Hint: name a private CA's in SSL_CERT_FILE of the listener")
    except OSError as error:
        unreached = f"its gateway cannot be reached: {error.strerror or 'no TLS'}"
        return Ended("failed", _ANOTHERS if isinstance(error, _Another) else unreached)
    except http.client.HTTPException:
        return Ended("failed", "what answers at its url does not speak HTTP")
    if 200 <= status < 300:
        return Ended("asked", "its gateway took the notice")
    unknown = f"its gateway answered with HTTP status {status}. Hint: check url"
    return Ended("failed", _NOT_TAKEN.get(status, unknown))


def _post(url: SplitResult, token: str, notice: str) -> int:
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=_ANSWER_TIMEOUT_S)
    try:
        connection.connect()
        if url.scheme == "http" and peer.is_anothers(connection.sock):
            raise _Another
        connection.request(
            "POST",
            f"{url.path.rstrip('/')}/hooks/wake",
            json.dumps({"text": notice, "mode": "now"}),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        answer.read(_ANSWER_MAX_BYTES)
        return answer.status
    finally:
        connection.close()


async def _start_service(call: WakeOrder) -> bool:
    """Start the gateway's user service; tell whether there is one and systemd started it."""
    systemctl = on_path(("systemctl",), call.environ)
    if not systemctl:
        return False
    profile = profile_of(call.rules.token_file) if call.rules.token_file else ""
    unit = f"{_UNIT}-{profile}" if profile else _UNIT  # as OpenClaw names it
    # It is not the agent's process: nobody counts it, and it runs anywhere.
    rules = replace(call.rules, folder=Path("/"), on_stop="end")
    quiet = replace(call, rules=rules, started=lambda _: None)
    for verb in ("cat", "start"):
        ended = await run(
            [systemctl, "--user", verb, unit],
            stdin=b"",
            call=quiet,
            time_limit_s=_SYSTEMCTL_TIMEOUT_S,
        )
        if ended.outcome != "exited":
            return False
    return True
