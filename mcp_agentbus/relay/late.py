# SPDX-License-Identifier: Apache-2.0
"""Load what a session, or a command, needs late, though the package may just be upgraded below it.

    late.load("mcp_agentbus.tools.standalone")

A session may run for days before its listener ends and it has to serve itself. While pip replaces
the package, files of it are missing for a moment: a session that looked for one then would end,
with all that it holds. So they are waited for, and what was loaded before one that was missing is
loaded anew with it, so that both are of one version.
"""

# No `typing`, and no `threading`: a command loads this before it knows that it needs more.
import _thread
import sys
import time

#: What says who a session is.
IDENTITY = (
    "mcp_agentbus.config.identity",
    "mcp_agentbus.config.settings",
    "mcp_agentbus.tools.answers.readers",
)
#: What does the commands that a listener does, too.
COMMANDS = (
    "mcp_agentbus.cli.main",
    "mcp_agentbus.cli.tasks",
    "mcp_agentbus.tools.commands",
    "mcp_agentbus.tools.follow",
)
#: What serves a session.
STANDALONE = "mcp_agentbus.tools.standalone"
# An upgrade takes pip a second or two, a busy machine longer; a host waits for half a minute.
_MISSING_MAX_S = 15.0
_LOOK_AGAIN_S = 0.1

_lock = _thread.allocate_lock()


def load(*names: str) -> None:
    """Have these modules be loaded; those of a package that is being replaced are waited for, 15 s.

    Raises:
        ImportError, SyntaxError, OSError: one is missing for good, or is half written.
    """
    import importlib

    give_up = None
    packages = tuple({f"{name.partition('.')[0]}." for name in names})
    with _lock:
        while True:
            before = set(sys.modules)
            try:
                for name in names:
                    importlib.import_module(name)
            except (ImportError, SyntaxError, OSError):  # between the look for it and its reading
                # From the first that was missing: on a busy machine loading alone may take so long.
                give_up = give_up or time.monotonic() + _MISSING_MAX_S
                if time.monotonic() >= give_up:
                    raise
            else:
                return
            for name in set(sys.modules) - before:
                if name.startswith(packages):
                    del sys.modules[name]
            time.sleep(_LOOK_AGAIN_S)
            importlib.invalidate_caches()
