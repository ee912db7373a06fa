# SPDX-License-Identifier: Apache-2.0
"""How an id is spelled that is made of what a folder, a user or an account is called.

    >>> default_id(Path("/home/me/shop"), "claude-code")
    'shop-claude'
    >>> other_ids(Path("/home/me/shop"), "claude-code")[0]
    'shop-claude-1f3a'

Whether a name is free is not known here.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from mcp_agentbus.core import hosts, places
from mcp_agentbus.core.ids import ROLE_PREFIX, agent_id, is_agent

_ID_MAX: Final = 63
# These are told from each other by what stands before a dash; of any other nobody knows that.
_HOSTS: Final = frozenset(host.name for host in hosts.HOSTS)
# How much of another host's name stands in an id at most.
_HOST_MAX: Final = 24
#: How persons' names begin.
PERSONS: Final = "me-"
# How much of the hash stands in a name: as little as tells it from the others here.
_HASH_LENGTHS: Final = (4, 8, 16)


def default_id(folder: Path, host: str) -> str:
    """Return an id made of the folder's name and the host's: `shop-claude`."""
    return _of_folder(folder, host)


def other_ids(folder: Path, host: str) -> list[str]:
    """Return what a folder's id may be where that one does not do, the shortest first."""
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()
    return [_of_folder(folder, host, digest[:length]) for length in _HASH_LENGTHS]


def plain_name() -> str:
    """Return the name that this user has at a terminal where nobody else has it: `me-alice`."""
    return _of_user()


def other_names(account: str | None) -> list[str]:
    """Return what this user's name may be where that one does not do, the best first.

    Args:
        account: this user's on a shared server, which has a name of its own there.
    """
    # The machine is in it: on a shared server many machines have a user of that name.
    machine = f"{platform.node()} {places.login()}".encode(errors="surrogateescape")
    digest = hashlib.sha256(machine).hexdigest()
    return [
        *([_of_user(account)] if account else []),
        *(_of_user(digest[:length]) for length in _HASH_LENGTHS),
    ]


def beside(name: str, account: str, taken: Collection[str]) -> str:
    """Return a name like another, of an account of a shared server: `shop-laptop`."""
    endings = (f"-{account}", *(f"-{account}-{number}" for number in range(2, 100)))
    spelled = (f"{name[: _ID_MAX - len(ending)]}{ending}"[-_ID_MAX:] for ending in endings)
    return next(each for each in spelled if is_agent(each) and each not in taken)


def keeps_all(name: str, spelled: str) -> bool:
    """Tell whether an id made of a name keeps all but case, dots, blanks and dashes around."""
    kept = re.sub(r"[ .]+", "-", name.lower()).strip("-_")
    return kept == _slug(name) and kept in spelled


def _of_folder(folder: Path, host: str, digest: str = "") -> str:
    short = host.partition("-")[0] if host in _HOSTS else host[:_HOST_MAX]
    ending = "-".join(filter(None, (short, digest)))
    room = _ID_MAX - 1 - len(ending)
    name = (_slug(folder.name) or "agent")[:room]
    if f"{name}-".startswith(ROLE_PREFIX):  # reserved, and so is what a folder `role` would give
        name = f"my-{name}"[:room]
    return agent_id(f"{name}-{ending}")


def _of_user(ending: str = "") -> str:
    ending = f"-{ending}" if ending else ""
    name = _slug(places.login()) or "user"
    return agent_id(f"{PERSONS}{name}"[: _ID_MAX - 1 - len(ending)] + ending)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
