# SPDX-License-Identifier: Apache-2.0
r"""What is to be done so that the folder of a shared server is as it is wanted.

    >>> plan = planned(folder, Wanted(names=("bus.example.org",)), units)
    >>> [change.said for change in plan.changes]
    ['server.json: new', 'admin.nk: new', ...]
    >>> plan.carry_out()

The same again changes nothing but what is missing, about to expire, or wanted otherwise: keys
stay, and who has joined. The folder is 0700, its files 0600. The authority's key has a folder of
its own: the server does not need it, so it can be kept elsewhere until a certificate is renewed.
"""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

from mcp_agentbus.bus.login.nkey import Nkey, NoSeed, new_seed
from mcp_agentbus.bus.server_conf import PENDING_MAX_MIB, beside, jetstream, monitoring_port, quoted
from mcp_agentbus.core import text
from mcp_agentbus.core.files import check_private, read_whole, shell_word, unusable
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.shared import authority
from mcp_agentbus.shared.accounts.bus_conf import JOINED_HEAD, Keys, bus_accounts
from mcp_agentbus.shared.draft import NEW, FileChange, FolderDraft, write
from mcp_agentbus.shared.reached import OWN_NAMES, at, reached_at
from mcp_agentbus.shared.server_files import Files, Wanted

# The server takes no more of its disk than this, in bytes; its streams reserve 5.4 GiB.
STORE_MAX_BYTES: Final = 8 << 30
# A certificate that expires within that is renewed.
_RENEWED_BEFORE: Final = timedelta(days=30)
# To that by which the servers of a cluster reach each other: 4222, 6222.
_TO_ROUTES: Final = 2000


class Units(NamedTuple):
    """The texts of what systemd runs: a server, and its gate beside it."""

    server: str
    gate: str


@dataclass(frozen=True)
class FolderPlan:
    """What is to be done in the folder of a shared server."""

    files: Files
    wanted: Wanted
    changes: tuple[FileChange, ...]
    #: Whether other machines reached it before by a name or port that it has no more.
    is_gone: bool = False

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
    there = authority.about(ca)
    is_early = text.now() < there.begins_at  # it was made by a clock that was ahead
    if is_early or there.expires_at - text.now() < _RENEWED_BEFORE:
        what, anew = "about to expire", "Run"
        if is_early:
            what = f"not valid before {text.minute(text.stamp(there.begins_at))}"
            anew = "Set this machine's clock if it is wrong (date -u); else run"
        raise BadSetup(
            f"The authority of {files.ca} is {what}.",
            hint=f"{anew}: rm {shell_word(files.ca)}; then the same; every machine needs the new "
            "one.",
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
    is_early = text.now() < there.begins_at  # it was made by a clock that was ahead
    return f"it is not valid before {there.begins_at:%Y-%m-%d}" if is_early else ""


def _conf(files: Files, wanted: Wanted, keys: Keys) -> str:
    cert, key = wanted.cert or str(files.cert), wanted.key or str(files.key)
    return f"""\
# A bus for several machines, made by `agentbus server init`, which writes it anew.
listen: {quoted(at(wanted.host, wanted.port))}
server_name: {quoted(wanted.server_name)}
http: "127.0.0.1:{monitoring_port(wanted.port)}"
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
