# SPDX-License-Identifier: Apache-2.0
"""What a listener starts in place of Claude Code for one task: it goes by its argv and its notice.

    $ python claude_alone.py NOTES OTHER -p --mcp-config JSON ... < notice

It starts the one server that it was given, reads, tries to end task OTHER, ends the one that the
notice names, and leaves NOTES/run.json.
"""

import json
import os
import re
import sys
from pathlib import Path

from served import MODERN, Pipes


def main(notes, other, *argv):
    notice = sys.stdin.read()
    [server] = json.loads(argv[argv.index("--mcp-config") + 1])["mcpServers"].values()
    task_id = re.search("[0-9a-f]{32}", notice)[0]
    with Pipes({**os.environ, **server["env"]}, [server["command"], *server["args"]]) as session:
        session.greet(MODERN)

        def told(tool, **arguments):
            params = {"name": tool, "arguments": arguments}
            result = session.ask("tools/call", params, era=MODERN)["result"]
            return "\n".join(part["text"] for part in result["content"])

        read = told("read_inbox")
        refused = told("publish_result", task_id=other, status="completed")
        told("publish_result", task_id=task_id, status="completed", summary="dropped")
    noted = {"argv": argv, "notice": notice, "read": read, "refused": refused}
    Path(notes, "run.json").write_text(json.dumps(noted))
    print(json.dumps({"type": "result", "total_cost_usd": 0.25}))


main(*sys.argv[1:])
