# SPDX-License-Identifier: Apache-2.0
r"""The folder of a shared server: its configuration, keys, certificates and what it stores.

    >>> plan = planned(folder, Wanted(names=("bus.example.org",)), units)
    >>> [change.said for change in plan.changes]
    ['server.json: new', 'admin.nk: new', ...]
    >>> plan.carry_out()

The same again changes nothing but what is missing, about to expire, or wanted otherwise: keys
stay, and who has joined. The folder is 0700, its files 0600. The authority's key has a folder of
its own: the server does not need it, so it can be kept elsewhere until a certificate is renewed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcp_agentbus.bus.login.nkey import Nkey, NoSeed, new_seed
from mcp_agentbus.bus.server_conf import PENDING_MAX_MIB, jetstream, quoted
from mcp_agentbus.core import text
from mcp_agentbus.core.files import check_private, damaged, read_whole, shell_word, unusable
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadInput, BadSetup
from mcp_agentbus.shared import authority
from mcp_agentbus.shared.accounts.bus_conf import JOINED_FILE, JOINED_HEAD, Keys, bus_accounts
from mcp_agentbus.shared.draft import NEW, FileChange, FolderDraft, write
from mcp_agentbus.shared.reached import (
    OWN_NAMES,
    PORT,
    at,
    beside,
    folder_name,
    listening,
    reached_at,
    server_name,
)

# The server takes no more of its disk than this, in bytes; its streams reserve 5.4 GiB.
STORE_MAX_BYTES: Final = 8 << 30
# A certificate that expires within that is renewed.
_RENEWED_BEFORE: Final = timedelta(days=30)
# From the port of the bus to that of its monitoring, which is for this machine alone: 4222, 8222.
_TO_MONITORING: Final = 4000
# To that by which the servers of a cluster reach each other: 4222, 6222.
_TO_ROUTES: Final = 2000


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


class Units(NamedTuple):
    """The texts of what systemd runs: a server, and its gate beside it."""

    server: str
    gate: str


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


@dataclass(frozen=True)
class FolderPlan:
    """What is to be done in the folder of a shared server."""

    files: Files
    wanted: Wanted
    changes: tuple[FileChange, ...]

    @property
    def names(self) -> set[str]:
        """The files that were there and are to be others."""
        return {change.file.name for change in self.changes if change.is_other}

    @property
    def is_new(self) -> bool:
        """Whether there was nothing of it."""
        return self.files.wanted in {change.file for change in self.changes if not change.is_other}

    def carry_out(self) -> None:
        """Do it; where it ends early, the same again goes on.

        Raises:
            BadSetup: a file cannot be written.
        """
        write(self.files.folder, self.changes, self.files.store)


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


def planned(folder: Path, wanted: Wanted, units: Units) -> FolderPlan:
    """Return what is to be done so that a shared server is as it is wanted; nothing is written.

    Args:
        folder: its folder, which need not be there.
        wanted: how it is to be; it has a name.
        units: of systemd, for it and its gate.

    Raises:
        BadSetup: a file cannot be used, is missing, or does not go with another.
    """
    files, draft = Files(folder), FolderDraft(folder)
    try:
        return drafted(draft, files, wanted, units)
    except OSError as error:
        raise unusable(error, folder, done="read") from None


def drafted(
    draft: FolderDraft, files: Files, wanted: Wanted, units: Units, *, is_here: bool = True
) -> FolderPlan:
    """As `planned`, of a folder of which a part may be drafted already.

    One that is not `is_here` is to be taken to its machine, where it may have been before: who has
    joined by then is known there alone.

    Raises:
        BadSetup: as `planned`.
        OSError: a file cannot be read.
    """
    # First, so that a folder that was half written is known again.
    draft.keep(files.wanted, json.dumps(asdict(wanted), indent=1).encode(), "what was asked")
    keys = draft_keys(draft, files)
    if wanted.cert:
        _check_pair(Path(wanted.cert), Path(str(wanted.key)))
    if wanted.cluster or not wanted.cert:
        draft_authority(draft, files, wanted.names[0])
        _draft_certificate(draft, files, wanted)
    conf = _conf(files, wanted, keys)
    # A path need not be text.
    draft.keep(files.conf, os.fsencode(conf), "where it listens, or its certificate's place")
    if is_here and draft.content(files.joined) is None:
        draft.put(files.joined, JOINED_HEAD.encode())
    for file, unit in zip((files.unit, files.gate_unit), units, strict=True):
        draft.keep(file, os.fsencode(unit), "the program's place")
    return FolderPlan(files, wanted, draft.taken())


def draft_keys(draft: FolderDraft, files: Files) -> Keys:
    """Have the keys of the server's own users; return them.

    Raises:
        BadSetup: what is there is none.
    """
    return Keys(*(_drafted_key(draft, file) for file in files.keys))


def _drafted_key(draft: FolderDraft, file: Path) -> str:
    seed = draft.secret(file)
    if seed is None:
        seed = new_seed().encode()
        draft.put(file, seed)
    try:
        return Nkey(seed.decode(errors="replace").strip()).public
    except NoSeed:
        raise _damaged(file) from None


def draft_authority(draft: FolderDraft, files: Files, name: str) -> bytes:
    """Have an authority, which is named by a server's name if it is new; return its certificate.

    Raises:
        BadSetup: what is there cannot be used, or not for long.
    """
    ca_key, ca = draft.secret(files.ca_key), draft.content(files.ca)
    if ca is None:
        if ca_key is None:
            ca_key = authority.new_key()
            draft.put(files.ca_key, ca_key)
        if authority.is_key(ca_key):
            ca = authority.self_signed(name, ca_key)
            draft.put(files.ca, ca, f"{NEW}; other machines know the server by it")
    if ca_key is not None and not authority.is_key(ca_key):
        raise _damaged(files.ca_key)
    if ca is None or not authority.is_certificate(ca):
        raise _damaged(files.ca)
    if authority.about(ca).expires_at - text.now() < _RENEWED_BEFORE:
        raise BadSetup(
            f"The authority of {files.ca} is about to expire.",
            hint=f"Run: rm {shell_word(files.ca)}; then the same; every machine needs the new one.",
        )
    return ca


def _draft_certificate(draft: FolderDraft, files: Files, wanted: Wanted) -> None:
    """Have a certificate of the authority that is for these names, for a while yet."""
    ca, ca_key = draft.content(files.ca) or b"", draft.secret(files.ca_key)
    key, cert = draft.secret(files.key), draft.content(files.cert)
    if key is None:
        key = authority.new_key()
        draft.put(files.key, key)
    if not authority.is_key(key):
        raise _damaged(files.key)
    # By the last its owner's commands know it, on its own machine.
    names = list(dict.fromkeys((*wanted.names, *OWN_NAMES, *wanted.listens_on)))
    why = _why_another(cert, key, ca, names)
    if not why:
        return
    if ca_key is None:
        raise BadSetup(
            f"server.crt must be issued ({why}), and the authority's key is not there.",
            hint=f"Put it back at {files.ca_key}, then run the same again.",
        )
    issued = authority.issue(ca, ca_key, key, names, to_others=bool(wanted.cluster))
    if not authority.belongs(issued, key, ca):
        what = f"{files.ca_key} is not the key of {files.ca}."
        raise BadSetup(what, hint="Put the right one there, then run the same again.")
    until = f"{authority.about(issued).expires_at:%Y-%m-%d}"
    said = f"{why}; for {', '.join(names)}, until {until}"
    draft.put(files.cert, issued, said, is_other=cert is not None)


def _why_another(cert: bytes | None, key: bytes, ca: bytes, names: list[str]) -> str:
    """Return why a certificate is to be replaced; empty if it is not."""
    if cert is None:
        return NEW
    if not authority.is_certificate(cert):
        return "it could not be read"
    if not authority.belongs(cert, key, ca):
        return "it was not of this key and this authority"
    there = authority.about(cert)
    if set(there.names) != set(names):
        return "its names have changed"
    if there.expires_at - text.now() < _RENEWED_BEFORE:
        return f"it expires on {there.expires_at:%Y-%m-%d}"
    return ""


def _conf(files: Files, wanted: Wanted, keys: Keys) -> str:
    cert, key = wanted.cert or str(files.cert), wanted.key or str(files.key)
    return f"""\
# A bus for several machines, made by `agentbus server init`, which writes it anew.
listen: {quoted(at(wanted.host, wanted.port))}
server_name: {quoted(wanted.server_name)}
http: "127.0.0.1:{beside(wanted.port, _TO_MONITORING)}"
max_pending: {PENDING_MAX_MIB}MB
tls {{ cert_file: {quoted(cert)}, key_file: {quoted(key)} }}
{_routes(files, wanted) if wanted.cluster else ""}{bus_accounts(keys)}\
{jetstream(str(files.store), STORE_MAX_BYTES)}"""


def _routes(files: Files, wanted: Wanted) -> str:
    """Return how a server reaches the others of its cluster; each knows all by the authority."""

    def route(reached: str) -> str:
        host, port = reached_at(reached)
        return at(host, beside(port, _TO_ROUTES))

    others = [f"nats://{route(each)}" for each in wanted.cluster if each != wanted.reached]
    return f"""\
cluster {{
  name: agentbus
  listen: {quoted(at(wanted.host, beside(wanted.port, _TO_ROUTES)))}
  advertise: {quoted(route(wanted.reached))}
  routes: [{", ".join(map(quoted, others))}]
  tls {{
    cert_file: {quoted(str(files.cert))}, key_file: {quoted(str(files.key))}
    ca_file: {quoted(str(files.ca))}, verify: true
  }}
}}
"""


def _check_pair(cert: Path, key: Path) -> None:
    """See that a certificate from elsewhere and its key can be used.

    Raises:
        BadSetup: they cannot.
    """
    try:
        for file in (cert, key):
            read_whole(file)
        check_private(key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key, password=lambda: b"")
    except ssl.SSLError as error:
        reason = (error.reason or "they are no PEM").replace("_", " ").lower()
        raise BadSetup(
            f"{cert} and {key} cannot be used: {reason}.",
            hint="Give a certificate in PEM and its key without a passphrase: --cert, --key.",
        ) from None
    except OSError as error:
        raise unusable(error, cert, done="read") from None


def _damaged(file: Path) -> BadSetup:
    anew = f"rm {shell_word(file)}; then the same again."
    return BadSetup(f"{file} is damaged.", hint=f"Put back what was there; or for another: {anew}")
