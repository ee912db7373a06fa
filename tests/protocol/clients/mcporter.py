# SPDX-License-Identifier: Apache-2.0
"""mcporter's command, which starts a server for each call; run by any Python."""

import json
import subprocess
from pathlib import Path

import lines

servers = {
    agent: {"command": program, "args": args, "env": lines.TOLD["environ"]}
    for agent, (program, *args) in lines.TOLD["servers"].items()
}
Path("mcporter.json").write_text(json.dumps({"mcpServers": servers, "imports": []}))

for agent, tool, arguments in lines.asked():
    given = [
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in arguments.items()
    ]
    argv = [*lines.TOLD["program"], "--config", "mcporter.json", "call", f"{agent}.{tool}", *given]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    lines.answer(done.stdout + done.stderr, refused=done.returncode != 0)
