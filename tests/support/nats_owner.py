# SPDX-License-Identifier: Apache-2.0
"""Somebody else's nats-server, as its owner has set it up: by passwords, by keys, by JWTs.

    >>> with shared_server(tmp_path, 'authorization { token: "x" }') as settings: ...

It is a real one; whoever is let in and what they may do stands in its configuration.
"""

import base64
import contextlib
import json
import secrets
import subprocess
import time
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ed25519
from local_server import settings_at, until

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.login import nkey

_KINDS = {"operator": 14 << 3, "account": 0, "user": 20 << 3}


@contextlib.contextmanager
def shared_server(folder, more, listen="127.0.0.1:-1"):
    """Run a server that its owner has set up so; give the settings of a user without a login."""
    ports, conf = folder / "ports", folder / "nats.conf"
    ports.mkdir()
    conf.write_text(
        f'listen: "{listen}"\nports_file_dir: "{ports}"\nlogfile: "{folder / "log"}"\n'
        f'jetstream {{ store_dir: "{folder / "store"}" }}\n{more}\n'
    )
    settings = settings_at(folder / "home")
    server = subprocess.Popen([embedded.binary(settings), "-c", conf], stdin=subprocess.DEVNULL)
    try:
        file = ports / f"nats-server_{server.pid}.ports"

        def says():
            assert server.poll() is None, (folder / "log").read_text()
            return file.exists() and file.read_text().endswith("}")

        until(says, "it says where it is")
        yield replace(settings, url=json.loads(file.read_text())["nats"][0])
    finally:
        server.kill()
        server.wait()


class Key:
    """An nkey of one of NATS's kinds, with its seed."""

    def __init__(self, kind):
        self.kind = kind
        self._private = ed25519.Ed25519PrivateKey.generate()
        raw = self._private.private_bytes_raw()
        # Five bits say that it is a seed, the three that follow and five more whose.
        prefix = bytes([nkey._SEED | _KINDS[kind] >> 5, (_KINDS[kind] & 31) << 3])
        self.seed = _spelt(prefix + raw)
        self.public = _spelt(bytes([_KINDS[kind]]) + self._private.public_key().public_bytes_raw())

    def issued(self, whose, about, **claims):
        """Return a JWT that this key has signed about another, or itself."""
        nats = {**about, "type": whose.kind, "version": 2}
        body = {"jti": secrets.token_hex(8), "iat": int(time.time()), "iss": self.public,
                "sub": whose.public, "name": whose.kind, "nats": nats, **claims}  # fmt: skip
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        text = ".".join(_url(json.dumps(part).encode()) for part in (head, body))
        return f"{text}.{_url(self._private.sign(text.encode()))}"


class Operator:
    """Who runs a server by JWTs, with one account for the users of a bus."""

    def __init__(self):
        self._key, self._account, system = Key("operator"), Key("account"), Key("account")
        limits = dict.fromkeys(
            ("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1
        )
        stores = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
        accounts = [
            f"{each.public}: {self._key.issued(each, {'limits': {**of, 'wildcards': True}})}"
            for each, of in ((self._account, limits | stores), (system, limits))
        ]
        own = self._key.issued(self._key, {"system_account": system.public})
        #: What stands in the server's configuration.
        self.conf = (
            f"operator: {own}\nsystem_account: {system.public}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {', '.join(accounts)} }}"
        )

    def credentials(self, **claims):
        """Return the text of a file of credentials for a new user."""
        user = Key("user")
        jwt = self._account.issued(user, {"subs": -1, "data": -1, "payload": -1}, **claims)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


def _spelt(content):
    return base64.b32encode(content + nkey._check(content)).decode().rstrip("=")


def _url(content):
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
