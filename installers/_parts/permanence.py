# SPDX-License-Identifier: Apache-2.0
"""Whether this installation lasts: what is set up starts it, where it lies now.

>>> emptied()  # run by `uvx mcp-agentbus setup`
'/home/me/.cache/uv/archive-v0/Fy-YX5v6WKt_RMo9'
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from mcp_agentbus.core import programs

# Of caches, and where programs in a single file unpack themselves.
_NAMES: Final = {".cache", "Caches", ".shiv", ".pex"}
# Emptied by age, or when the machine starts; so are those that the variables name.
_TEMPORARY: Final = ("/tmp", "/var/tmp", "/dev/shm", "/private/var/folders")  # noqa: S108
_VARIABLES: Final = ("TMPDIR", "XDG_RUNTIME_DIR")
# It stands in the folder of a cache (https://bford.info/cachedir), and in each venv of uv's: in
# those of `uv tool install`, too, which last.
_TAG: Final = "CACHEDIR.TAG"
_VENV: Final = "pyvenv.cfg"


def emptied() -> str:
    """Return where this installation is, if that may be emptied at any time, else "".

    So are the places of `uvx` and `pipx run`, temporary ones, and that of a single file, of which a
    Python that a host starts knows nothing.
    """
    if not Path(programs.OWN).is_dir():
        return programs.OWN
    return next((folder for folder in (sys.prefix, programs.OWN) if _is_emptied(folder)), "")


def _is_emptied(folder: str) -> bool:
    named = [os.environ.get(name) for name in _VARIABLES]
    temporary = {Path(place).resolve() for place in (*named, *_TEMPORARY) if place}
    resolved = Path(folder).resolve()
    return any(
        place in temporary or place.name in _NAMES or _is_cache(place)
        for place in (resolved, *resolved.parents)
    )


def _is_cache(place: Path) -> bool:
    return (place / _TAG).exists() and not (place / _VENV).exists()
