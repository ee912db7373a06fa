# SPDX-License-Identifier: Apache-2.0
"""A project whose files have the names of what agentbus imports, and tell who has run them.

>>> project = Trap(tmp_path / "project")
>>> subprocess.run([agentbus, "demo"], cwd=project.folder)
>>> project.sprung()
[]
"""

import subprocess
import sys
from pathlib import Path

OURS = "mcp_agentbus"
# Imported by us or by what we need, and such as may be if they are there.
_OTHERS = {"nats", "mcp", "pydantic", "rich", "anyio", "orjson", "uvloop", "h2", "trio"}


def _names():
    """Return all of the standard library but what Python has loaded before it runs anything."""
    prints = "import runpy, sys; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-I", "-c", prints], capture_output=True, text=True, check=True
    )
    return sys.stdlib_module_names - {"sitecustomize", *ran.stdout.split()} | _OTHERS


class Trap:
    """A folder with such files; `ours` adds a package of our name."""

    def __init__(self, folder: Path, *, ours: bool = True):
        self.folder = folder
        self._notes = folder / "sprung"
        tells = f"open({str(self._notes)!r}, 'a').write(__name__ + '\\n')\n"
        for name in _names() | ({OURS} if ours else set()):
            (folder / name).mkdir(parents=True)
            for file in ("__init__.py", "__main__.py"):
                (folder / name / file).write_text(tells)

    def sprung(self):
        """Return the names of what was imported from here."""
        return self._notes.read_text().split() if self._notes.exists() else []
