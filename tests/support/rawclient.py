# SPDX-License-Identifier: Apache-2.0
"""A plain client of nats-server: it stores any bytes at all, and looks without our own code.

    >>> await store(settings, b"agentbus.coder.tasks.normal.planner", b"not JSON")
    17
    >>> async with Raw(settings.data_dir) as raw:
    ...     await raw.api("STREAM.INFO.AGENTBUS_TASKS")

nats-py refuses much of what nats-server takes, so this one speaks the protocol itself; and whoever
checks our work asks nothing of us: address and token are read from the files of the server.
"""

import asyncio
import base64
import binascii
import json
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ed25519

_WITHIN_S = 10  # a server that answers does so in milliseconds
_NO_MORE = 10037  # no message found
_USER = 20 << 3  # a key with this before it is a user's


class Stored(NamedTuple):
    """A message as it lies in a stream."""

    seq: int
    subject: str
    data: bytes


class Raw:
    """One connection to the server whose files are in this folder."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir
        self._number = 0

    async def __aenter__(self):
        options = {**await self._opened(), "headers": True, "no_responders": True}
        self._writer.write(b"CONNECT " + json.dumps({**options, "verbose": False}).encode())
        self._writer.write(b"\r\nSUB _INBOX.raw.* 1\r\n")
        return self

    async def _opened(self) -> dict[str, str]:
        """Open the connection; return by what it is let in."""
        [ports] = (self._folder / "run").glob("*.ports")
        where = urlsplit(json.loads(ports.read_text())["nats"][0])
        self._reader, self._writer = await asyncio.open_connection(where.hostname, where.port)
        return {"auth_token": (self._folder / "token").read_text()}

    async def __aexit__(self, *_):
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, subject: bytes, data: bytes = b"", header_block: bytes = b"") -> Any:
        """Publish the bytes, with this block of headers as it is; return the answer."""
        self._number += 1
        reply = b"_INBOX.raw.%d" % self._number
        sizes = b"%d %d" % (len(header_block), len(header_block) + len(data))
        self._writer.write(b" ".join((b"HPUB", subject, reply, sizes)) + b"\r\n")
        self._writer.write(header_block + data + b"\r\n")
        async with asyncio.timeout(_WITHIN_S):
            return json.loads(await self._answer(reply))

    async def put(self, subject: str, body: Any, headers: Mapping[str, str]) -> Any:
        """Publish JSON with these headers, none of which is checked; return the answer."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        block = f"NATS/1.0\r\n{lines}\r\n".encode() if headers else b""
        return await self.ask(subject.encode(), json.dumps(body).encode(), block)

    async def _answer(self, reply: bytes) -> bytes:
        while True:
            line = await self._reader.readline()
            if line.startswith((b"MSG ", b"HMSG ")):
                data = await self._reader.readexactly(int(line.split()[-1]) + 2)
                if line.split()[1] == reply:
                    return data
            elif line.startswith(b"PING"):
                self._writer.write(b"PONG\r\n")
            else:
                assert line.startswith((b"INFO", b"PONG")), line

    async def api(self, what: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream's API; an error of its own is in the answer."""
        data = json.dumps(request).encode() if request else b""
        return await self.ask(f"$JS.API.{what}".encode(), data)

    async def contents(self, stream: str) -> list[Stored]:
        """Return all that a stream holds, oldest first."""
        stored: list[Stored] = []
        while True:
            after = stored[-1].seq + 1 if stored else 1
            request = {"seq": after, "next_by_subj": ">"}
            answer = await self.api(f"STREAM.MSG.GET.{stream}", request)
            if "error" in answer:
                assert answer["error"]["err_code"] == _NO_MORE, answer
                return stored
            message = answer["message"]
            data = base64.b64decode(message.get("data", ""))
            stored.append(Stored(message["seq"], message["subject"], data))


class AdminRaw(Raw):
    """One connection to the shared server of this folder, by the key of who runs it."""

    async def _opened(self) -> dict[str, str]:
        conf = (self._folder / "nats.conf").read_text()
        [(host, port)] = re.findall(r'^listen: "(.+):(\d+)"', conf, re.MULTILINE)
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        told = json.loads((await self._reader.readline()).removeprefix(b"INFO "))
        context = ssl.create_default_context(cafile=self._folder / "ca.crt")
        await self._writer.start_tls(context, server_hostname=host)
        # Two bytes that say that it is a user's seed, 32 of the key, and two of a check sum.
        seed = (self._folder / "admin.nk").read_text().strip()
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))[2:-2]
        key = ed25519.Ed25519PrivateKey.from_private_bytes(raw)
        public = bytes([_USER]) + key.public_key().public_bytes_raw()
        check = binascii.crc_hqx(public, 0).to_bytes(2, "little")
        signed = base64.urlsafe_b64encode(key.sign(told["nonce"].encode()))
        return {
            "nkey": base64.b32encode(public + check).decode().rstrip("="),
            "sig": signed.decode().rstrip("="),
        }


async def store(settings, subject, data, header_block=b""):
    """Publish the bytes, with this block of headers as it is; return the sequence they got."""
    async with Raw(settings.data_dir) as raw:
        return (await raw.ask(subject, data, header_block))["seq"]
