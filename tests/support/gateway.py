# SPDX-License-Identifier: Apache-2.0
"""OpenClaw's real gateway in tests: given a port and a model, started, and ended.

with running(["openclaw"], environ, port):
...
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

_UP_WITHIN_S = 120  # only a hang takes as long


def onboarding(port, model):
    """Return the arguments of the command that gives a gateway a port and a model."""
    return [
        "onboard", "--non-interactive", "--accept-risk", "--mode", "local", "--json",
        "--auth-choice", "custom-api-key", "--custom-api-key", "dummy",
        "--custom-base-url", model.url, "--custom-compatibility", "anthropic",
        "--custom-model-id", "claude-sonnet-4-5", "--custom-provider-id", "standin",
        "--gateway-port", str(port), "--gateway-bind", "loopback",
        "--gateway-auth", "token", "--gateway-token", "gateway-secret-1",
        "--skip-channels", "--skip-daemon", "--skip-search", "--skip-skills", "--skip-hooks",
        "--skip-ui", "--skip-health",
    ]  # fmt: skip


def free_port():
    """Return a port that is free now: the gateway cannot choose one itself."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextlib.contextmanager
def running(argv, environ, port):
    """Run the gateway of the user of that environment until the end; it is up."""
    home = Path(environ["HOME"])
    log = home / "gateway.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*argv, "gateway", "run"],
            cwd=home, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    try:
        assert _is_up(process, port), log.read_text()[-4000:]
        yield
    finally:
        # With its servers; its group lives until it is waited for.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_up(process, port):
    """Wait until the gateway says that it is live; tell whether it did."""
    give_up = time.monotonic() + _UP_WITHIN_S
    pause = threading.Event()
    while process.poll() is None and time.monotonic() < give_up:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", "/health")
                if json.loads(connection.getresponse().read())["status"] == "live":
                    return True
        pause.wait(0.2)
    return False
