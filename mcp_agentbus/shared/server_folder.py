# SPDX-License-Identifier: Apache-2.0
r"""The folder of a shared server: its configuration, token, certificates and what it stores.

    >>> plan = planned(folder, Wanted(names=("bus.example.org",)), unit="[Unit]\n...")
    >>> [change.said for change in plan.changes]
    ['server.json: new', 'token: new', ...]
    >>> plan.carry_out()

The same again changes nothing but what is missing, about to expire, or wanted otherwise: token and
keys stay. The folder is 0700, its files 0600. The authority's key has a folder of its own: the
server does not need it, so it can be kept elsewhere until a certificate is renewed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import ssl
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.server_conf import jetstream, quoted
from mcp_agentbus.core import text
from mcp_agentbus.core.files import check_private, own_folder, read_whole, unusable, write_whole
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadInput, BadSetup
from mcp_agentbus.shared import authority
from mcp_agentbus.shared.reached import OWN_NAMES, PORT, bracketed, listening, server_name

# The server takes no more of its disk than this, in bytes; its streams reserve 5.4 GiB.
STORE_MAX_BYTES: Final = 8 << 30
# A certificate that expires within that is renewed.
_RENEWED_BEFORE: Final = timedelta(days=30)
# From the port of the bus to that of its monitoring, which is for this machine alone: 4222, 8222.
_TO_MONITORING: Final = 4000
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]{43}\n?")
_NEW: Final = "new"


@dataclass(frozen=True)
class Wanted:
    """How a shared server is to be."""

    #: Where it listens: an address, without brackets, and a port.
    host: str = "0.0.0.0"  # noqa: S104  # for other machines, behind TLS and a token
    port: int = PORT
    #: By which names and addresses other machines reach it; the first is the one they are told.
    names: tuple[str, ...] = ()
    #: Its certificate and key, where they come from elsewhere.
    cert: str | None = None
    key: str | None = None

    @property
    def url(self) -> str:
        """By which other machines reach it."""
        return f"tls://{bracketed(self.names[0])}:{self.port}"


class Files:
    """Where everything is in the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: How it was wanted the last time.
        self.wanted = folder / "server.json"
        self.conf = folder / "nats.conf"
        #: The secret that opens the server; other machines need it.
        self.token = folder / "token"
        #: The authority's certificate; other machines need it.
        self.ca = folder / "ca.crt"
        self.ca_key = folder / "authority" / "ca.key"
        self.cert = folder / "server.crt"
        self.key = folder / "server.key"
        self.unit = folder / "agentbus-server.service"
        #: JetStream's files.
        self.store = folder / "store"


@dataclass(frozen=True)
class Change:
    """A file that is to be written."""

    file: Path
    content: bytes
    #: For a person: which, and why.
    said: str
    #: Whether another content was there.
    is_other: bool = False


@dataclass(frozen=True)
class Plan:
    """What is to be done in the folder of a shared server."""

    files: Files
    wanted: Wanted
    changes: tuple[Change, ...]

    @property
    def names(self) -> set[str]:
        """The files that were there and are to be others."""
        return {change.file.name for change in self.changes if change.is_other}

    def carry_out(self) -> None:
        """Do it; where it ends early, the same again goes on.

        Raises:
            BadSetup: a file cannot be written.
        """
        try:
            own_folder(self.files.folder)
            self.files.folder.chmod(0o700)
            own_folder(self.files.store)
            for change in self.changes:
                own_folder(change.file.parent)
                if change.is_other and change.file == self.files.conf:  # somebody may have added
                    before = change.file.with_name("nats.conf.before")
                    write_whole(before, read_whole(change.file))
                write_whole(change.file, change.content)
        except OSError as error:
            raise unusable(error, self.files.folder, done="written") from None


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
        if folder.is_dir() and any(folder.iterdir()) and not files.conf.exists():
            raise BadInput(
                f"{folder} holds something else than a shared server.",
                hint="Name a new folder: --dir FOLDER.",
            ) from None
        return Wanted()
    except OSError as error:
        raise unusable(error, file, done="read") from None
    except (BadInput, ValueError, TypeError, LookupError, RecursionError):
        what = f"{file} is damaged."
        hint = f"Run: rm {file}; then the same with --listen and --name."
        raise BadSetup(what, hint=hint) from None


def _wanted(kept: Any) -> Wanted:
    """Return what was kept, by the rules of what is typed; raises where it breaks them."""
    host, port = listening(f"{bracketed(kept['host'])}:{kept['port']}")
    cert, key = (None if kept[name] is None else str(kept[name]) for name in ("cert", "key"))
    return Wanted(host, port, tuple(map(server_name, kept["names"])), cert, key)


def planned(folder: Path, wanted: Wanted, unit: str) -> Plan:
    """Return what is to be done so that a shared server is as it is wanted; nothing is written.

    Args:
        folder: its folder, which need not be there.
        wanted: how it is to be; it has a name.
        unit: the text of its systemd unit.

    Raises:
        BadSetup: a file cannot be used, is missing, or does not go with another.
    """
    files = Files(folder)
    try:
        return Plan(files, wanted, tuple(_changes(files, wanted, unit)))
    except OSError as error:
        raise unusable(error, folder, done="read") from None


def _changes(files: Files, wanted: Wanted, unit: str) -> Iterator[Change]:
    # First, so that a folder that was half written is known again.
    yield from _as(files.wanted, json.dumps(asdict(wanted), indent=1).encode(), "what was asked")
    token = _secret(files.token)
    if token is None:
        token = secrets.token_urlsafe(32).encode()
        yield Change(files.token, token, f"token: {_NEW}")
    if not _TOKEN.fullmatch(token):
        raise _damaged(files.token)
    if wanted.cert:
        _check_pair(Path(wanted.cert), Path(str(wanted.key)))
    else:
        yield from _certificates(files, wanted)
    conf = _conf(files, wanted, token.decode().strip())
    # A path need not be text.
    yield from _as(files.conf, os.fsencode(conf), "where it listens, or its certificate's place")
    yield from _as(files.unit, os.fsencode(unit), "the program's place")


def _as(file: Path, content: bytes, what: str) -> Iterator[Change]:
    """Have a file hold this; `what` may have changed if it held something else."""
    there = _content(file)
    if there != content:
        said = f"{file.name}: {_NEW if there is None else f'{what} has changed'}"
        yield Change(file, content, said, is_other=there is not None)


def _certificates(files: Files, wanted: Wanted) -> Iterator[Change]:
    """Have an authority, and a certificate of it that is for these names, for a while yet."""
    ca_key, ca = _secret(files.ca_key), _content(files.ca)
    if ca is None:
        if ca_key is None:
            ca_key = authority.new_key()
            yield Change(files.ca_key, ca_key, f"authority/ca.key: {_NEW}")
        ca = authority.self_signed(wanted.names[0], ca_key)
        yield Change(files.ca, ca, f"ca.crt: {_NEW}; other machines know the server by it")
    key, cert = _secret(files.key), _content(files.cert)
    if key is None:
        key = authority.new_key()
        yield Change(files.key, key, f"server.key: {_NEW}")
    _check(files, ca, ca_key, key)
    names = [*wanted.names, *(name for name in OWN_NAMES if name not in wanted.names)]
    why = _why_another(cert, key, ca, names)
    if not why:
        return
    if ca_key is None:
        raise BadSetup(
            f"server.crt must be issued ({why}), and the authority's key is not there.",
            hint=f"Put it back at {files.ca_key}, then run the same again.",
        )
    issued = authority.issue(ca, ca_key, key, names)
    if not authority.belongs(issued, key, ca):
        what = f"{files.ca_key} is not the key of {files.ca}."
        raise BadSetup(what, hint="Put the right one there, then run the same again.")
    until = f"{authority.about(issued).expires_at:%Y-%m-%d}"
    said = f"server.crt: {why}; for {', '.join(names)}, until {until}"
    yield Change(files.cert, issued, said, is_other=cert is not None)


def _check(files: Files, ca: bytes, ca_key: bytes | None, key: bytes) -> None:
    """See that an authority and the keys can be used, and for a while yet."""
    for file, there in ((files.ca_key, ca_key), (files.key, key)):
        if there is not None and not authority.is_key(there):
            raise _damaged(file)
    if not authority.is_certificate(ca):
        raise _damaged(files.ca)
    if authority.about(ca).expires_at - text.now() < _RENEWED_BEFORE:
        raise BadSetup(
            f"The authority of {files.ca} is about to expire.",
            hint=f"Run: rm {files.ca}; then the same, and copy the new one to every machine.",
        )


def _why_another(cert: bytes | None, key: bytes, ca: bytes, names: list[str]) -> str:
    """Return why a certificate is to be replaced; empty if it is not."""
    if cert is None:
        return _NEW
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


def _conf(files: Files, wanted: Wanted, token: str) -> str:
    listen = f"{bracketed(wanted.host)}:{wanted.port}"
    above = wanted.port + _TO_MONITORING
    monitoring = above if above < 1 << 16 else wanted.port - _TO_MONITORING
    cert, key = wanted.cert or str(files.cert), wanted.key or str(files.key)
    return f"""\
# A bus for several machines, made by `agentbus server init`, which writes it anew.
listen: {quoted(listen)}
server_name: agentbus
http: "127.0.0.1:{monitoring}"
authorization {{ token: {quoted(token)} }}
tls {{ cert_file: {quoted(cert)}, key_file: {quoted(key)} }}
{jetstream(str(files.store), STORE_MAX_BYTES)}"""


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
    hint = f"Put back what was there; or for another one: rm {file}; then the same again."
    return BadSetup(f"{file} is damaged.", hint=hint)


def _secret(file: Path) -> bytes | None:
    try:
        check_private(file)
    except FileNotFoundError:
        return None
    return read_whole(file)


def _content(file: Path) -> bytes | None:
    try:
        return read_whole(file)
    except FileNotFoundError:
        return None
