# SPDX-License-Identifier: Apache-2.0
"""The program of a worker in a run: it is told a task, takes its time, and prints what is sent back.

    $ SOAK_SESSION=work-1 python toiling.py NOTES SEED < brief

That it was told, and what it is about to say, goes into NOTES, a line of JSON each.
"""

import json
import os
import random
import re
import sys
import time


def main(notes, seed):
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    began = time.monotonic()
    [task] = re.findall(r"^Task (\S+) from ", sys.stdin.read(), re.MULTILINE)

    def note(**fields):
        line = {"began": began, "at": time.monotonic(), "task": task, **fields}
        os.write(file, json.dumps({**line, "session": os.environ["SOAK_SESSION"]}).encode() + b"\n")

    note()
    time.sleep(random.Random(f"{seed}/{task}").uniform(0, 1.5))
    note(status="completed")
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
