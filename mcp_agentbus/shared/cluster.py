# SPDX-License-Identifier: Apache-2.0
"""Three servers that are one bus: a folder for each, to be taken to its machine.

    >>> three = servers(folder, "a.example.org,b.example.org,c.example.org")
    >>> plan = planned(folder, three, units)
    >>> plan.carry_out()

They have the same keys, and one authority, by which clients know each of them, and they each other.
Each folder is that of a shared server, as `server_folder` makes it: on its machine the same command
without the names brings it up to date, for the places of that machine. The authority's key stays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mcp_agentbus.core.files import damaged, read_whole, unusable
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadInput
from mcp_agentbus.shared import server_folder
from mcp_agentbus.shared.draft import FileChange, FolderDraft, write
from mcp_agentbus.shared.reached import at, folder_name, reached_at
from mcp_agentbus.shared.server_files import Files, check_free, wanted_before
from mcp_agentbus.shared.server_folder import Units, draft_authority, draft_keys, drafted

# Two lose their majority with one of them, four are no better than three.
_SERVERS: Final = 3


@dataclass(frozen=True)
class ClusterPlan:
    """What is to be done in the folder of a cluster."""

    folder: Path
    #: What all have.
    changes: tuple[FileChange, ...]
    #: Of each of them, in its own folder.
    servers: tuple[server_folder.FolderPlan, ...]

    def carry_out(self) -> None:
        """Do it; where it ends early, the same again goes on.

        Raises:
            BadSetup: a file cannot be written.
        """
        write(self.folder, self.changes)
        for each in self.servers:
            each.carry_out()


def servers(folder: Path, typed: str | None) -> tuple[str, ...]:
    """Return where the servers of a cluster are reached, as `HOST:PORT`; none if it is no cluster.

    Args:
        folder: the cluster's.
        typed: three, with commas between them; as the last time if nothing was typed.

    Raises:
        BadInput: these are not three.
        BadSetup: what was typed the last time is damaged, or cannot be read.
    """
    if typed:
        return _three(typed.split(","))
    file = _kept(folder)
    try:
        kept = from_json(read_whole(file))
        if not isinstance(kept, list):
            raise TypeError(kept)
        return _three(list(map(str, kept)))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise unusable(error, file, done="read") from None
    except (BadInput, ValueError, TypeError, RecursionError):
        raise damaged(file, "then the same with --cluster.") from None


def folder_of(folder: Path, reached: str) -> Path:
    """Return the folder of one of the servers in that of the cluster."""
    return folder / folder_name(reached)


def planned(folder: Path, reached: tuple[str, ...], units: list[Units]) -> ClusterPlan:
    """Return what is to be done; nothing is written.

    Args:
        folder: the cluster's; it may be that of a server that was alone, whose keys and authority
            they take over.
        reached: as `servers` returned it.
        units: of systemd, for each.

    Raises:
        BadInput: something else is in the folder.
        BadSetup: a file cannot be used, is missing, or does not go with another.
    """
    files, draft = Files(folder), FolderDraft(folder)
    check_free(folder, _kept(folder), files.conf)
    try:
        draft.keep(_kept(folder), json.dumps(reached, indent=1).encode(), "who is in it")
        draft_keys(draft, files)
        ca = draft_authority(draft, files, reached_at(reached[0])[0])
        changes, plans = draft.taken(), []
        for each, of_each in zip(reached, units, strict=True):
            own = Files(folder_of(folder, each), authority=folder)
            host, port = reached_at(each)
            wanted = wanted_before(own.folder)
            names = (host, *(name for name in wanted.names if name != host))
            wanted = replace(wanted, names=names, port=port, cluster=reached)
            for mine, common in zip(own.keys, files.keys, strict=True):
                draft.keep(mine, draft.secret(common) or b"", "the key")
            draft.keep(own.ca, ca, "the authority")
            plans.append(drafted(draft, own, wanted, of_each, is_here=False))
    except OSError as error:
        raise unusable(error, folder, done="read") from None
    return ClusterPlan(folder, changes, tuple(plans))


def _kept(folder: Path) -> Path:
    return folder / "cluster.json"


def _three(given: list[str]) -> tuple[str, ...]:
    reached = tuple(dict.fromkeys(at(*reached_at(each.strip())) for each in given))
    if len(reached) != _SERVERS or len(given) != _SERVERS:
        raise BadInput(
            "A cluster is of three servers: with one of them away two are still more than half.",
            hint="Give three names or addresses: --cluster a.example.org,b.example.org,10.0.0.7.",
        )
    return reached
