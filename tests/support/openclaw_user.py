# SPDX-License-Identifier: Apache-2.0
"""A user of the real OpenClaw in tests: has it on PATH, and starts its gateway.

environ = {"HOME": home, "PATH": on_path(folder)}
with running(environ, port):
...
"""

import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import node_tools
from local_server import script

_UP_WITHIN_S = 120  # only a hang takes as long


def on_path(folder, noted=os.devnull):
    """Put the program `openclaw` into a folder; return the PATH with which it runs.

    It adds each of its arguments to the file `noted`, in a line of its own.
    """
    real = node_tools.openclaw()
    # It would start itself once more for this option, which says nothing about experiments.
    quiet = "--disable-warning=ExperimentalWarning"
    program = shlex.join([str(real.node), quiet, str(real.modules / "openclaw/openclaw.mjs")])
    script(
        folder / "openclaw",
        f'printf "%s\\n" "$@" >> {shlex.quote(str(noted))}',
        f'exec {program} "$@"',
    )
    return f"{folder}:{real.node.parent}:/usr/bin:/bin"


def entry(machine):
    """Return the entry that an install leaves in the OpenClaw of a user who had none."""
    command, *args = machine.agentbus
    return {
        "command": command,
        "args": [*args, "serve", "--agent", "openclaw"],
        "requestTimeoutMs": 120_000,
        "env": {
            "AGENTBUS_HOST": "openclaw",
            "AGENTBUS_HOME": machine.environ["AGENTBUS_HOME"],
            "AGENTBUS_WATCH_MAX_S": "115",
        },
    }


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
def running(environ, port):
    """Run the gateway of the user of that environment until the end; it is up."""
    home = Path(environ["HOME"])
    log = home / "gateway.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["/bin/sh", "-c", "exec openclaw gateway run"],
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
