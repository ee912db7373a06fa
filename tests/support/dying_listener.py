# SPDX-License-Identifier: Apache-2.0
"""A listener that is killed -9 at a step of its own naming.

$ AGENTBUS_HOME=/tmp/bus python dying_listener.py noted
"""

import os
import signal
import sys

from mcp_agentbus.cli import main as cli
from mcp_agentbus.listener import daemon


def main(step):
    log = daemon._log

    def log_and_die(event, agent, more):
        if event == step:
            os.kill(os.getpid(), signal.SIGKILL)
        log(event, agent, more)

    daemon._log = log_and_die
    return cli.main(["listen"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
