# SPDX-License-Identifier: Apache-2.0
"""What whoever runs a shared server is to type: with its folder, unless that is the usual one.

>>> typed("accounts laptop --revoke", folder)
'agentbus server accounts laptop --revoke --dir /srv/bus'
"""

from __future__ import annotations

import shlex
from pathlib import Path

from mcp_agentbus.config.settings import Settings, load_settings


def usual(settings: Settings) -> Path:
    """Return where the folder of a shared server is, where nobody says otherwise."""
    return settings.data_dir / "shared"


def typed(words: str, folder: Path) -> str:
    """Return a command of `agentbus server` that is about the server of a folder.

    Raises:
        BadSetup: as `load_settings`.
    """
    of = "" if folder == usual(load_settings()) else f" --dir {shlex.quote(str(folder))}"
    return f"agentbus server {words}{of}"
