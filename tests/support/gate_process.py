# SPDX-License-Identifier: Apache-2.0
"""A gate in a process of its own, for a server that `gated.ungated` runs; it says when it answers.

$ python gate_process.py URL KEY_FILE HOME
answers
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import forking

from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.gate.gate import Gate


@contextlib.contextmanager
def gate_beside(admin: Settings) -> Iterator[int]:
    """Run it for the owner of a server until the block ends; give its process id."""
    argv = [sys.executable, __file__, str(admin.url), str(admin.nkey_file), str(admin.data_dir)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    with forking.start(argv, env=environ, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"answers\n"
            yield process.pid
        finally:
            process.terminate()


async def main(url: str, key: str, home: str) -> None:
    """Answer until killed."""
    gate = Gate(
        load_settings({"AGENTBUS_HOME": home, "AGENTBUS_URL": url, "AGENTBUS_NKEY_FILE": key})
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(gate.run(asyncio.Event()))
        await gate.answers.wait()
        print("answers", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
