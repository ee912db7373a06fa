# SPDX-License-Identifier: Apache-2.0
"""Where everything is in the folder of a shared server, which says how it was wanted.

>>> wanted_before(folder).names
('bus.example.org',)
>>> Files(folder).conf
PosixPath('/srv/bus/nats.conf')
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp_agentbus.core.files import damaged, read_whole, unusable
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadInput
from mcp_agentbus.shared.accounts.bus_conf import JOINED_FILE
from mcp_agentbus.shared.reached import PORT, at, folder_name, listening, reached_at, server_name


@dataclass(frozen=True)
class Wanted:
    """How a shared server is to be."""

    #: Where it listens: an address, without brackets, and a port.
    host: str = "0.0.0.0"  # noqa: S104  # for other machines, behind TLS and a key
    port: int = PORT
    #: By which names and addresses other machines reach it; the first is the one they are told.
    names: tuple[str, ...] = ()
    #: Its certificate and key, where they come from elsewhere.
    cert: str | None = None
    key: str | None = None
    #: Those that are one bus with it, and itself, each as `HOST:PORT`; none if it is alone.
    cluster: tuple[str, ...] = ()

    @property
    def reached(self) -> str:
        """Where other machines reach it, as `HOST:PORT`."""
        return at(self.names[0], self.port)

    @property
    def listens_on(self) -> tuple[str, ...]:
        """The one address on which it listens; none if that is each of its machine."""
        return () if ipaddress.ip_address(self.host).is_unspecified else (self.host,)

    @property
    def server_name(self) -> str:
        """What the server is called among those of its bus."""
        return folder_name(self.reached) if self.cluster else "agentbus"

    @property
    def server_names(self) -> tuple[str, ...]:
        """What they are called, this one first."""
        others = [folder_name(each) for each in self.cluster if each != self.reached]
        return (self.server_name, *others)

    @property
    def urls(self) -> list[str]:
        """By which other machines reach the bus."""
        return [f"tls://{each}" for each in self.cluster or (self.reached,)]


class Files:
    """Where everything is in the folder; the authority's key may be in that of a cluster."""

    def __init__(self, folder: Path, authority: Path | None = None) -> None:
        self.folder = folder
        #: How it was wanted the last time.
        self.wanted = folder / "server.json"
        self.conf = folder / "nats.conf"
        #: Who has joined, as `nats.conf` includes it. The gate writes it.
        self.joined = folder / JOINED_FILE
        #: The seeds of the keys of the server's own users, see `bus_conf.Keys`; none leaves here.
        self.admin = folder / "admin.nk"
        self.system = folder / "system.nk"
        #: But for this one, which is in each line by which somebody joins.
        self.lobby = folder / "lobby.nk"
        #: The authority's certificate; other machines need it.
        self.ca = folder / "ca.crt"
        self.ca_key = (authority or folder) / "authority" / "ca.key"
        self.cert = folder / "server.crt"
        self.key = folder / "server.key"
        self.unit = folder / "agentbus-server.service"
        self.gate_unit = folder / "agentbus-gate.service"
        #: JetStream's files.
        self.store = folder / "store"

    @property
    def keys(self) -> tuple[Path, Path, Path]:
        """Where the seeds of `bus_conf.Keys` are, in their order."""
        return self.admin, self.system, self.lobby


def wanted_before(folder: Path) -> Wanted:
    """Return how a server was wanted that has this folder; the defaults if there is none.

    Raises:
        BadInput: something else is in the folder.
        BadSetup: what says it is damaged, or cannot be read.
    """
    files = Files(folder)
    file = files.wanted
    try:
        return _wanted(from_json(read_whole(file)))
    except FileNotFoundError:
        check_free(folder, files.conf)
        return Wanted()
    except OSError as error:
        raise unusable(error, file, done="read") from None
    except (BadInput, ValueError, TypeError, LookupError, RecursionError):
        raise damaged(file, "then the same with --listen and --name.") from None


def check_free(folder: Path, *known: Path) -> None:
    """See that a folder has nothing in it, or something by which it is known as ours.

    Raises:
        BadInput: something else is in it.
    """
    if folder.is_dir() and any(folder.iterdir()) and not any(each.exists() for each in known):
        what = f"{folder} holds something else than a shared server."
        raise BadInput(what, hint="Name a new folder: --dir FOLDER.")


def _wanted(kept: Any) -> Wanted:
    """Return what was kept, by the rules of what is typed; raises where it breaks them."""
    host, port = listening(at(kept["host"], kept["port"]))
    cert, key = (None if kept[name] is None else str(kept[name]) for name in ("cert", "key"))
    cluster = tuple(at(*reached_at(each)) for each in kept.get("cluster", ()))
    return Wanted(host, port, tuple(map(server_name, kept["names"])), cert, key, cluster)
