# SPDX-License-Identifier: Apache-2.0
"""A project whose files have the names of what agentbus imports, and tell who has run them.

>>> project = Trap(tmp_path / "project")
>>> subprocess.run([agentbus, "demo"], cwd=project.folder)
>>> project.sprung()
[]
"""

from pathlib import Path

# What is imported early and late, of the standard library, of packages, and of our own.
NAMES = ("typing", "json", "asyncio", "nats", "mcp", "pydantic", "rich", "orjson", "uvloop")
OURS = "mcp_agentbus"


class Trap:
    """A folder with such files; `ours` adds a package of our name."""

    def __init__(self, folder: Path, *, ours: bool = True):
        self.folder = folder
        self._notes = folder / "sprung"
        tells = f"open({str(self._notes)!r}, 'a').write(__name__ + '\\n')\n"
        for name in (*NAMES, OURS) if ours else NAMES:
            (folder / name).mkdir(parents=True)
            for file in ("__init__.py", "__main__.py"):
                (folder / name / file).write_text(tells)

    def sprung(self):
        """Return the names of what was imported from here."""
        return self._notes.read_text().split() if self._notes.exists() else []
