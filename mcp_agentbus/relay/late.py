# SPDX-License-Identifier: Apache-2.0
"""Load what a session, or a command, needs late, though the package may just be upgraded below it.

    late.load("mcp_agentbus.tools.standalone")

A session may run for days before its listener ends and it has to serve itself. Its package may be
another one by then: what was loaded of it before does not fit to what is loaded now, so all of it
is loaded anew. Who runs keeps what it has, and takes by an import of its own, after this one, what
is to be handed to what was loaded. While pip replaces the package, files of it are missing for a
moment: a session that looked for one then would end, with all that it holds. So they are waited
for.
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


def load(*names: str) -> bool:
    """Have these modules be loaded; those of a package that is being replaced are waited for, 15 s.

    Returns:
        Whether what was loaded before has been replaced: what was made by it is of other classes.

    Raises:
        Exception: one is missing for good, or is half written, which fails in any way; what was
            loaded before still is.
    """
    import importlib

    give_up = None
    packages = frozenset(name.partition(".")[0] for name in names)
    with _lock:
        before = {name: sys.modules[name] for name in _loaded(packages)}
        if is_another := any(map(_is_replaced, packages)):
            _unload(packages)
        while True:
            try:
                for name in names:
                    importlib.import_module(name)
            # Whatever it is: files of two versions, or half of one, fail in any way.
            except Exception:
                # From the first that was missing: on a busy machine loading alone may take so long.
                give_up = give_up or time.monotonic() + _MISSING_MAX_S
                # Also what was there before: it may be of another version than what is missing.
                _unload(packages)
                is_another = True
                if time.monotonic() >= give_up:
                    sys.modules.update(before)
                    raise
            else:
                return is_another
            time.sleep(_LOOK_AGAIN_S)
            importlib.invalidate_caches()


def _is_replaced(package: str) -> bool:
    """Tell whether another version than the loaded one is there, or just comes."""
    loaded = sys.modules.get(f"{package}.version")
    version, spec = getattr(loaded, "__version__", ""), getattr(loaded, "__spec__", None)
    if not version or not spec:
        return False
    try:
        return f'"{version}"'.encode() not in spec.loader.get_data(spec.origin)
    except OSError:
        return True


def _loaded(packages: frozenset[str]) -> list[str]:
    return [name for name in list(sys.modules) if name.partition(".")[0] in packages]


def _unload(packages: frozenset[str]) -> None:
    """Have packages be loaded anew; who has taken something of them keeps it."""
    for name in _loaded(packages):
        sys.modules.pop(name, None)
