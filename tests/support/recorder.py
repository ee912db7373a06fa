# SPDX-License-Identifier: Apache-2.0
"""The process that a listener starts in tests: it notes how it was started, then does its part.

    $ python recorder.py NOTES read PACKAGE < notice

Modes: `read` claims everything that waits, `look` does nothing and ends, `fail` ends with code 3,
`wait` stays until NOTES/go is a line long (a fifo), then reads. Without a notice it ends at once, as
a host does that was given no prompt.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main(notes, mode, package):
    noted = {
        "argv": sys.argv,
        "environ": dict(os.environ),
        "stdin": sys.stdin.read(),
        "cwd": str(Path.cwd()),
        "pid": os.getpid(),
    }
    part = Path(notes, f"{time.time_ns()}.part")
    part.write_text(json.dumps(noted))
    part.rename(part.with_suffix(".json"))
    if mode == "fail" or not noted["stdin"]:
        return 3
    if mode == "wait":
        Path(notes, "go").read_text()
    if mode in {"read", "wait"}:
        for _ in range(4 if mode == "wait" else 1):
            argv = [sys.executable, "-m", "mcp_agentbus", "inbox", "--limit", "50"]
            environ = {**os.environ, "PYTHONPATH": package}
            subprocess.run(argv, env=environ, stdout=subprocess.DEVNULL, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
