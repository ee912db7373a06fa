# SPDX-License-Identifier: Apache-2.0
"""`agentbus hook HOST EVENT`: the script of the plugin's hooks, run by this Python.

    $ echo '{"conversation_id": "c1"}' | agentbus hook cursor sessionStart
    {"additional_context": "1 task waits in your agentbus inbox. Call read_inbox."}

The script is a file of the plugin, since hosts start it where this package may be out of reach.
There is only that one; this finds it, and imports next to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Final

_SCRIPT: Final = "hooks/agentbus_hook.py"


def run(argv: Sequence[str]) -> int:
    """Answer a host's hook, `[HOST, EVENT]`, on standard input and output, and end the process.

    The exit code is 0, whatever went wrong. Returns only if this installation has no such script.
    """
    room = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # see the top
    package = os.path.dirname(room)  # noqa: PTH120
    # As `assets.plugin_folder`.
    for folder in (f"{package}/plugin", os.path.dirname(package)):  # noqa: PTH120
        loader = SourceFileLoader("agentbus_hook", f"{folder}/{_SCRIPT}")
        script = ModuleType(loader.name)
        try:
            loader.exec_module(script)
        except OSError:
            continue
        os._exit(script.main(argv))
    return 0
