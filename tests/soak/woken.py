# SPDX-License-Identifier: Apache-2.0
"""The process that a listener starts in a run: it reads its inbox as a host's model would, and ends.

    $ AGENTBUS_AGENT=wanda python woken.py NOTES SEED PACKAGE < notice

What it was answered goes into NOTES, a line of JSON each: it may be killed at any moment.
"""

import json
import os
import random
import subprocess
import sys
import time


def agentbus(package, *argv):
    """Run one command; return when it was begun, and its data if it did its work."""
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "mcp_agentbus", *argv, "--json"],
        env={**os.environ, "PYTHONPATH": package},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return began, json.loads(ran.stdout) if ran.returncode == 0 else None, ran.stderr


def main(notes, seed, package):
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(began, **fields):
        line = {"began": began, "at": time.monotonic(), **fields}
        os.write(file, json.dumps(line).encode() + b"\n")

    sys.stdin.read()
    chance = random.Random(f"{seed}/woken/{os.fstat(file).st_size}")
    began, inbox, _ = agentbus(package, "inbox", "--limit", "10")
    if inbox is None:
        return 1
    for task in inbox["tasks"]:
        note(began, task=task["task_id"], attempt=task["attempt"], new=task["new"])
    for task in inbox["tasks"]:
        time.sleep(chance.uniform(0, 1.5))
        token = f"woken {os.getpid()} {task['task_id'][:8]}"
        words = ("result", task["task_id"], "completed", "--summary", token)
        # Before it is done: a process that is killed notes nothing any more.
        said = {"task": task["task_id"], "status": "completed", "token": token}
        note(time.monotonic(), **said, outcome="unknown")
        began, done, err = agentbus(package, *words)
        outcome = "stored" if done else "refused" if "is over" in err else "unknown"
        note(began, **said, outcome=outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
