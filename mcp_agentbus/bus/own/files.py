# SPDX-License-Identifier: Apache-2.0
"""Where this user's own server keeps its things.

>>> Files(settings.data_dir).lock.name
'server.lock'
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mcp_agentbus.core.files import read_whole, write_whole


class Files:
    """Where one embedded server keeps its things; the folder is 0700, the files are 0600."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: Locked for as long as a server or its starter lives; it says which one.
        self.lock = root / "server.lock"
        #: The secret that opens the server.
        self.token = root / "token"
        #: The server's configuration; written anew at each start.
        self.conf = root / "nats.conf"
        #: Where the server writes which address it got, in a file named after its pid.
        self.ports = root / "run"
        #: The port of last time, taken again if it is free.
        self.port = root / "port"
        #: The server's own log.
        self.log = root / "nats.log"
        #: JetStream's files.
        self.store = root / "store"
        #: There while it does not run as somebody has stopped it: after a crash it is not.
        self.stopped = root / "stopped"
        #: There while one that ends, or has, is to go on: nobody has asked for its end.
        self.goes_on = root / "goes-on"
        #: On which files the last server ran, by their numbers: a copy of them has others.
        self.ran_on = root / "ran-on"

    @property
    def are_used(self) -> bool:
        """Whether a server has run on these very files, and what it has stored is there.

        What is put in their place, be it a half of a copy yet, is none to start unasked.
        """
        with suppress(OSError):
            has_run = read_whole(self.ran_on) == self._numbers()
            return has_run and (self.store / "jetstream").is_dir()
        return False

    def note_use(self) -> None:
        """Note that a server runs on them, or is to go on with them."""
        with suppress(OSError):  # on a full disk it starts all the same
            if not self.are_used:
                write_whole(self.ran_on, self._numbers())

    def _numbers(self) -> bytes:
        # One of them alone may be given again to what is copied to its place.
        used = (self.store, self.ports, self.token)
        return " ".join(str(path.stat().st_ino) for path in used).encode()
