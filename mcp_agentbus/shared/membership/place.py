# SPDX-License-Identifier: Apache-2.0
"""What a joined account keeps on its machine, beside config.toml, in a folder `joined` (0700).

    laptop-3f2a9c01.nk    the seed of its key (0600), from before it is shown to the server on
    laptop-3f2a9c01.crt   the certificate of the server's private authority, if it has one
    joined.json           which account this is, and what [server] of config.toml said before

The files of a key are named after the invitation by which it was made, so that the same line again
goes on with the same key, whatever was lost on the way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcp_agentbus.bus.login.nkey import Nkey, NoSeed, new_seed
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core import ids, locks
from mcp_agentbus.core.files import (
    check_private,
    damaged,
    own_folder,
    read_whole,
    unusable,
    write_whole,
)
from mcp_agentbus.core.text import from_json
from mcp_agentbus.shared.membership.invitation import Line

# Of an invitation's id so much tells one line of an account from another.
_ID_CHARS = 8
# What [server] says beside which server it is.
_STAYS = ("binary",)


@dataclass(frozen=True)
class JoinedRecord:
    """What joined.json says."""

    account: str
    urls: tuple[str, ...]
    #: The id of the invitation by which it has its key.
    invitation: str
    #: As `core.text.stamp` writes it.
    joined_at: str
    #: What [server] of config.toml said before.
    before: Mapping[str, Any]


def staying(server: Mapping[str, Any]) -> dict[str, Any]:
    """Return what [server] goes on to say, whichever server it is."""
    return {key: value for key, value in server.items() if key in _STAYS}


class JoinedFolder:
    """The folder, and what is in it."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.joined_folder
        self._record = self.folder / "joined.json"

    def key_file(self, account: str, invitation: str) -> Path:
        """Where the key is that an account has by an invitation."""
        return self._of(account, invitation, "nk")

    def ca_file(self, account: str, invitation: str) -> Path:
        """Where the authority's certificate is, unless a public one signs the server's."""
        return self._of(account, invitation, "crt")

    def lobby_file(self, line: Line) -> Path:
        """Where the line's own key is while it is used."""
        return self._of(line.name, line.id, "lobby")

    def _of(self, account: str, invitation: str, kind: str) -> Path:
        return self.folder / f"{account}-{invitation[:_ID_CHARS]}.{kind}"

    @contextmanager
    def locked(self) -> Generator[None]:
        """Have no other process of this user join or leave meanwhile.

        Raises:
            BadSetup: the folder cannot be used.
        """
        file = self.folder.with_suffix(".lock")
        try:
            lock = locks.take(file, wait=True)
        except OSError as error:
            raise unusable(error, file) from None
        try:
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def settings(self, account: str, invitation: str, urls: Iterable[str]) -> Settings:
        """Return the settings of that account, whatever config.toml says."""
        return self._settings(urls, self.key_file(account, invitation), account, invitation)

    def lobby_settings(self, line: Line) -> Settings:
        """Return the settings of one who has nothing but a line."""
        return self._settings(line.urls, self.lobby_file(line), "", line.id, line.name)

    def _settings(
        self, urls: Iterable[str], key: Path, account: str, invitation: str, name: str = ""
    ) -> Settings:
        authority = self.ca_file(name or account, invitation)
        environ = {
            "AGENTBUS_HOME": str(self.folder),
            "AGENTBUS_URL": ",".join(urls),
            "AGENTBUS_NKEY_FILE": str(key),
            "AGENTBUS_ACCOUNT": account,
            "AGENTBUS_CA_FILE": str(authority) if authority.exists() else "",
        }
        return load_settings(environ)

    def prepare(self, line: Line) -> Nkey:
        """Have all in the folder that is needed to ask by a line; return the key that is to join.

        Raises:
            BadSetup: the folder or a file cannot be used.
        """
        file = self.key_file(line.name, line.id)
        try:
            own_folder(self.folder)
            self.folder.chmod(0o700)
            if not file.exists():
                write_whole(file, new_seed().encode())
            if line.ca_pem:
                write_whole(self.ca_file(line.name, line.id), line.ca_pem.encode())
            write_whole(self.lobby_file(line), line.lobby_seed.encode(), durable=False)
            check_private(file)
            return Nkey(read_whole(file).decode(errors="replace").strip())
        except NoSeed:
            raise damaged(file, "then the same.") from None
        except OSError as error:
            raise unusable(error, file) from None

    def record(self) -> JoinedRecord | None:
        """Return which account this user has here; None if none.

        Raises:
            BadSetup: what says it cannot be read.
        """
        try:
            said: Any = from_json(read_whole(self._record))
            names = [str(said[key]) for key in ("account", "invitation", "joined_at")]
            urls, before = tuple(map(str, said["urls"])), dict(said["before"])
            if not ids.is_agent(names[0]):
                raise ValueError("no account")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(error, self._record, done="read") from None
        except (LookupError, TypeError, ValueError):
            raise damaged(self._record, "then the same.") from None
        return JoinedRecord(names[0], urls, names[1], names[2], before)

    def urls(self, record: JoinedRecord, settings: Settings) -> tuple[str, ...]:
        """Return where an account's server is: as config.toml says that names the account still."""
        return settings.urls if settings.account == record.account else record.urls

    def is_authority(self, record: JoinedRecord, pem: str) -> bool:
        """Tell whether an account's server is known by this very authority.

        Raises:
            BadSetup: what it is known by cannot be read.
        """
        file = self.ca_file(record.account, record.invitation)
        try:
            return bool(pem) and read_whole(file).decode(errors="replace").split() == pem.split()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise unusable(error, file, done="read") from None

    def keep(self, record: JoinedRecord) -> None:
        """Note which account this user has here.

        Raises:
            BadSetup: it cannot be written.
        """
        try:
            write_whole(self._record, json.dumps(asdict(record), indent=1).encode())
        except OSError as error:
            raise unusable(error, self._record) from None

    def end_asking(self, line: Line) -> None:
        """Forget a line's own key."""
        self.lobby_file(line).unlink(missing_ok=True)

    def forget(self, *, but: Line | None = None) -> None:
        """Remove what is here; with `but` only the files of other lines' keys.

        Raises:
            BadSetup: something cannot be removed.
        """
        stays = set[Path]()
        if but:
            named = (but.name, but.id)
            stays = {self.key_file(*named), self.ca_file(*named), self._record}
        try:
            for kind in ("*.nk", "*.crt", "*.lobby", self._record.name):
                for file in set(self.folder.glob(kind)) - stays:
                    file.unlink()
            if not but:
                with suppress(OSError):  # something of somebody else is in it
                    self.folder.rmdir()
        except OSError as error:
            raise unusable(error, self.folder) from None
