# SPDX-License-Identifier: Apache-2.0
"""How this installation is renewed: the line to type, by what has made it.

>>> line("add", "apprise")
"uv tool install 'mcp-agentbus[apprise]'"
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final, Literal

_NAME: Final = "mcp-agentbus"
#: To bring it up to date, to have all its files anew, or to add an extra.
Do = Literal["upgrade", "again", "add"]
# By the file that a program leaves in the environments that it makes.
_BY: Final[dict[str, dict[Do, str]]] = {
    "uv-receipt.toml": {
        "upgrade": "uv tool upgrade {}",
        "again": "uv tool upgrade --reinstall {}",
        "add": "uv tool install {}",
    },
    "pipx_metadata.json": {
        "upgrade": "pipx upgrade {}",
        "again": "pipx reinstall {}",
        "add": "pipx install --force {}",
    },
}
# The `pip` of a shell may be another Python's.
_ELSE: Final[dict[Do, str]] = {
    "upgrade": "{python} -m pip install --upgrade {}",
    "again": "{python} -m pip install --force-reinstall {}",
    "add": "{python} -m pip install {}",
}


def line(do: Do, extra: str = "") -> str:
    """Return what is to be typed; `extra` is the one that is added."""
    there = (lines for file, lines in _BY.items() if Path(sys.prefix, file).exists())
    what = shlex.quote(f"{_NAME}[{extra}]" if extra else _NAME)
    return next(there, _ELSE)[do].format(what, python=shlex.quote(sys.executable))
