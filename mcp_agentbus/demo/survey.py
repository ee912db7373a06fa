# SPDX-License-Identifier: Apache-2.0
"""A survey of a folder: the honest little job that the demo's coder does.

    >>> survey(Path(".")).summary
    '42 files, 9,120 lines; mostly Python (31 files); 3 TODO notes'

It reads at most 20,000 files, no link, and nothing over 1 MiB; what it leaves out it counts.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcp_agentbus.core.files import read_whole
from mcp_agentbus.core.framing import one_line
from mcp_agentbus.core.text import many

#: How much of a folder's name a subject has, which may have 200 characters.
NAME_MAX: Final = 100
_FILES_MAX: Final = 20_000
_FILE_MAX_BYTES: Final = 1 << 20
# Besides folders whose name begins with a dot.
_SKIPPED: Final = frozenset({"venv", "node_modules", "__pycache__", "build", "dist", "target"})
_NOTE: Final = re.compile(rb"\b(?:TODO|FIXME|XXX)\b")
_LANGUAGES: Final = {
    ".c": "C", ".cpp": "C++", ".cs": "C#", ".css": "CSS", ".go": "Go", ".h": "C",
    ".html": "HTML", ".java": "Java", ".js": "JavaScript", ".json": "JSON", ".kt": "Kotlin",
    ".md": "Markdown", ".php": "PHP", ".py": "Python", ".rb": "Ruby", ".rs": "Rust",
    ".sh": "Shell", ".sql": "SQL", ".swift": "Swift", ".toml": "TOML", ".ts": "TypeScript",
    ".tsx": "TypeScript", ".txt": "Text", ".yaml": "YAML", ".yml": "YAML",
}  # fmt: skip


@dataclass
class Survey:
    """What was counted in a folder and below it."""

    folder: Path
    files: int = 0
    lines: int = 0
    #: TODO, FIXME and XXX.
    notes: int = 0
    #: Files that were not read.
    left_out: int = 0
    #: Files of each.
    languages: Counter[str] = field(default_factory=Counter)
    #: The five largest: bytes, and the path below the folder.
    largest: list[tuple[int, str]] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One line for a reader in a hurry."""
        common = self.languages.most_common(1)
        files = many(self.files, "file", grouped=True)
        lines = many(self.lines, "line", grouped=True)
        notes = many(self.notes, "TODO note", grouped=True)
        if not common:
            return f"{files}, {lines}; {notes}"
        [(language, count)] = common
        return f"{files}, {lines}; mostly {language} ({many(count, 'file', grouped=True)}); {notes}"

    @property
    def report(self) -> str:
        """The whole result."""
        rows = [f"Survey of {shown(self.folder)}", "", self.summary]
        if self.left_out:
            left_out = many(self.left_out, "file", grouped=True)
            rows.append(f"Not read: {left_out}, too many, too large or not readable")
        common = self.languages.most_common(8)
        if common:
            rows += ["", "Languages"]
        rows += [f"  {count:>6,}  {name}" for name, count in common]
        if self.largest:
            rows += ["", "Largest files"]
        rows += [f"  {size:>10,} bytes  {name}" for size, name in self.largest]
        return "\n".join(rows)


def shown(path: Path | str, limit: int = 200) -> str:
    """Return a path as text of one line that any reader takes, whatever bytes it has."""
    return one_line(os.fsencode(path).decode(errors="replace"), limit)


def survey(folder: Path) -> Survey:
    """Count files, lines, languages, notes and large files below `folder`."""
    counts = Survey(folder)
    sizes: list[tuple[int, str]] = []
    for path in _paths(folder):
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                continue
            if counts.files >= _FILES_MAX:
                counts.left_out += 1
                continue
            size = found.st_size
            data = read_whole(path, _FILE_MAX_BYTES) if size <= _FILE_MAX_BYTES else b""
        except OSError:
            counts.left_out += 1
            continue
        counts.files += 1
        sizes.append((size, shown(path.relative_to(folder))))
        counts.languages[_LANGUAGES.get(path.suffix.lower(), "other")] += 1
        counts.left_out += size > _FILE_MAX_BYTES
        if b"\0" not in data:
            counts.lines += data.count(b"\n")
            counts.notes += len(_NOTE.findall(data))
    counts.largest = sorted(sizes, reverse=True)[:5]
    return counts


def _paths(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in _SKIPPED)
        for name in sorted(names):
            yield Path(place, name)
