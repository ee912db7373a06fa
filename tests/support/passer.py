# SPDX-License-Identifier: Apache-2.0
"""The process that a listener starts in tests of circles: it reads its inbox and passes work on.

    $ AGENTBUS_AGENT=b python passer.py NOTES c pass PACKAGE < notice

Modes: `pass` sends while it holds what it has read, `finish` publishes results first. It notes the
outcome of its send, as a model would read it.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def agentbus(package, *arguments):
    """Run one command as a host's model would."""
    return subprocess.run(
        [sys.executable, "-m", "mcp_agentbus", *arguments],
        env={**os.environ, "PYTHONPATH": package},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def main(notes, following, mode, package):
    part = Path(notes, f"{time.time_ns()}.part")
    read = agentbus(package, "inbox", "--json")
    if mode == "finish":
        for task in json.loads(read.stdout)["tasks"]:
            done = ("result", task["task_id"], "completed", "--summary", "passed on")
            agentbus(package, *done).check_returncode()
    sent = agentbus(package, "send", "--priority", "high", following, "Pass it on", "x")
    noted = {
        "agent": os.environ["AGENTBUS_AGENT"],
        "read": read.returncode,
        "sent": sent.returncode,
        "said": sent.stdout + sent.stderr,
    }
    part.write_text(json.dumps(noted))
    part.rename(part.with_suffix(".json"))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
