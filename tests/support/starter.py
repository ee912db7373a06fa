# SPDX-License-Identifier: Apache-2.0
"""One process that needs the server: says `ready`, waits for the end of its input, calls `ensure`.

    $ AGENTBUS_HOME=/tmp/bus python starter.py 0 < /dev/null
    ready
    started 4711 nats://127.0.0.1:39327 97

The last number is how many different lines of embedded.py it ran. With a number other than 0 it
kills itself with SIGKILL before it runs the line with that number.
"""

import os
import signal
import sys

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import load_settings


def main(die_at: int) -> None:
    settings = load_settings()
    print("ready", flush=True)
    sys.stdin.read()
    lines = set()

    def trace(frame, _event, _argument):
        if frame.f_code.co_filename != embedded.__file__:
            return None
        lines.add(frame.f_lineno)
        if len(lines) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    server = embedded.ensure(settings)
    sys.settrace(None)
    print(server.how, server.pid, server.url, len(lines))


if __name__ == "__main__":
    main(int(sys.argv[1]))
