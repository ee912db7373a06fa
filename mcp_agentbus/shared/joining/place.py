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
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcp_agentbus.bus.login.nkey import Nkey, NoSeed, new_seed
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids
from mcp_agentbus.core.files import check_private, own_folder, read_whole, unusable, write_whole
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.shared.joining.invitation import Line

# Of an invitation's id so much tells one line of an account from another.
_ID_CHARS = 8


@dataclass(frozen=True)
class Record:
    """What joined.json says."""

    account: str
    urls: tuple[str, ...]
    #: The id of the invitation by which it has its key.
    invitation: str
    #: As `core.text.stamp` writes it.
    joined_at: str
    #: What [server] of config.toml said before.
    before: Mapping[str, Any]


class Place:
    """The folder, and what is in it."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.config_file.parent / "joined"
        self._record = self.folder / "joined.json"

    def key_file(self, line: Line) -> Path:
        """Where the key is that is made by a line."""
        return self._of(line, "nk")

    def ca_file(self, line: Line) -> Path | None:
        """Where the authority's certificate is; None if a public one counts."""
        return self._of(line, "crt") if line.ca_pem else None

    def lobby_file(self, line: Line) -> Path:
        """Where the line's own key is while it is used."""
        return self._of(line, "lobby")

    def _of(self, line: Line, kind: str) -> Path:
        return self.folder / f"{line.name}-{line.id[:_ID_CHARS]}.{kind}"

    def prepare(self, line: Line) -> Nkey:
        """Have all in the folder that is needed to ask by a line; return the key that is to join.

        Raises:
            BadSetup: the folder or a file cannot be used.
        """
        file = self.key_file(line)
        try:
            own_folder(self.folder)
            self.folder.chmod(0o700)
            if not file.exists():
                write_whole(file, new_seed().encode())
            if authority := self.ca_file(line):
                write_whole(authority, line.ca_pem.encode())
            write_whole(self.lobby_file(line), line.lobby_seed.encode(), durable=False)
            check_private(file)
            return Nkey(read_whole(file).decode(errors="replace").strip())
        except NoSeed:
            raise BadSetup(f"{file} is damaged.", hint=f"Run: rm {file}; then the same.") from None
        except OSError as error:
            raise unusable(error, file) from None

    def record(self) -> Record | None:
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
            hint = f"Run: rm {self._record}; then the same."
            raise BadSetup(f"{self._record} is damaged.", hint=hint) from None
        return Record(names[0], urls, names[1], names[2], before)

    def keep(self, record: Record) -> None:
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
        stays = {self.key_file(but), self.ca_file(but), self._record} if but else set()
        try:
            for kind in ("*.nk", "*.crt", "*.lobby", self._record.name):
                for file in set(self.folder.glob(kind)) - stays:
                    file.unlink()
            if not but:
                with suppress(OSError):  # something of somebody else is in it
                    self.folder.rmdir()
        except OSError as error:
            raise unusable(error, self.folder) from None
