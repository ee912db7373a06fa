# SPDX-License-Identifier: Apache-2.0
"""A listener that is killed -9 once its bus has so many tasks of the outbox, and before it forgets.

$ AGENTBUS_HOME=/tmp/laptop python dying_forwarder.py 3
"""

import os
import signal
import sys

from mcp_agentbus.cli import main as cli
from mcp_agentbus.listener.outbox import forwarder


def main(left):
    hand_on = forwarder.hand_on

    async def and_die(*of_one):
        nonlocal left
        await hand_on(*of_one)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    forwarder.hand_on = and_die
    return cli.main(["listen"])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
