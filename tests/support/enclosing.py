# SPDX-License-Identifier: Apache-2.0
"""What runs in a sandbox of `apart` and starts programs there; it loads no more than that needs.

$ python -S enclosing.py       # a line `["uname", ...], false` of JSON each; exit code and output
"""

import json
import subprocess
import sys

_WITHIN_S = 60  # only a hang takes as long


def main() -> None:
    """Run what is asked for, one line each."""
    print("ready", flush=True)
    staying = []
    for line in sys.stdin:
        argv, stays = json.loads(line)
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if stays:
            staying.append(process)
            ended = [0, process.stdout.readline()]
        else:
            said, _ = process.communicate(timeout=_WITHIN_S)
            ended = [process.returncode, said]
        print(json.dumps(ended), flush=True)
    for process in staying:
        process.terminate()
        process.communicate()


if __name__ == "__main__":
    main()
