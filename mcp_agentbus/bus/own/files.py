# SPDX-License-Identifier: Apache-2.0
"""Where this user's own server keeps its things.

>>> Files(settings.data_dir).lock.name
'server.lock'
"""

from __future__ import annotations

from pathlib import Path


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

    @property
    def are_used(self) -> bool:
        """Whether a server has ever run on them, and what it has stored is there."""
        return self.token.exists() and (self.store / "jetstream").is_dir()
