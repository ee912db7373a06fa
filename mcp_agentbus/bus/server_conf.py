# SPDX-License-Identifier: Apache-2.0
"""What a nats-server must be told to be a bus: for this user's own one, and for a shared one.

    $ agentbus server config --listen 0.0.0.0:4222 --tls-cert c.pem --tls-key k.pem > agentbus.conf

Pure: texts in, a configuration out; see https://docs.nats.io/running-a-nats-service/configuration.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

from mcp_agentbus.config.sections.server import is_private
from mcp_agentbus.config.values import LOOPBACK
from mcp_agentbus.core.text import is_count
from mcp_agentbus.errors import BadInput

#: The variable from which a shared server reads its token.
TOKEN_VARIABLE: Final = "AGENTBUS_TOKEN"  # noqa: S105  # its name
_GIB: Final = 1 << 30
# What does not stand for itself in a string of its configuration.
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f\x7f]')
# Of a store; where a server reads 0, there is no limit, and a longer number it cannot read.
_LEAST_GIB: Final = 1 / 1024
_MOST_GIB: Final = 1 << 32
#: For a connection that takes nothing a server with accounts holds so much, in MiB, and then ends
#: it; NATS holds 64 where nothing is said. A gate that rests for a moment has that much to make up.
PENDING_MAX_MIB: Final = 16
# From the port of the bus.
_TO_MONITORING: Final = 4000


def monitoring_port(port: int) -> int:
    """Return where a shared server tells its own machine alone how it stands: for 4222, 8222."""
    return beside(port, _TO_MONITORING)


def beside(port: int, away: int) -> int:
    """Return a port that goes with another: so many above, or below where that is none."""
    return port + away if port + away < 1 << 16 else port - away


def jetstream(store: str, max_bytes: int) -> str:
    """Return what every bus has in common.

    `sync_interval: always`: an acknowledged message is on the disk before the acknowledgement.
    `default_max_consumers`: nats-server 2.15 allows 1,000 a stream, an inbox has three.
    """
    return f"""\
max_payload: 1MB
jetstream {{
  store_dir: {quoted(store)}
  max_file_store: {max_bytes}
  max_memory_store: 64MB
  sync_interval: always
  limits {{ default_max_consumers: 100000 }}
}}
"""


def shared(
    listen: str,
    store: str,
    *,
    max_gib: float = 8,
    cert: str | None = None,
    key: str | None = None,
    allow_plaintext: bool = False,
) -> str:
    """Return the configuration of a server for several machines; it holds no secret.

    Args:
        listen: HOST:PORT.
        store: the folder in which it keeps everything.
        max_gib: how much of the disk it may take.
        cert: the server's certificates, a file in PEM.
        key: their key; both or none.
        allow_plaintext: the network of that address encrypts by itself.

    Raises:
        BadInput: it would be open to others without TLS, or a value makes no sense.
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not is_count(port, 5) or not 0 < int(port) < 65536:
        raise BadInput(f"{listen!r} is no HOST:PORT.", hint="Give --listen such as 0.0.0.0:4222.")
    if (cert is None) != (key is None):
        raise BadInput("TLS needs both files.", hint="Give --tls-cert and --tls-key.")
    if cert is None and host not in LOOPBACK and not (allow_plaintext and _is_private(host)):
        raise BadInput(
            f"On {host} the token and all tasks would go over the network in plain text.",
            hint="Give --tls-cert and --tls-key, or --listen 127.0.0.1:4222; on an address of "
            "Tailscale or WireGuard --allow-plaintext.",
        )
    if not _LEAST_GIB <= max_gib <= _MOST_GIB:  # what is no number is not, either
        raise BadInput("A store needs room.", hint="Give --max-store in GiB, such as 8.")
    tls = f"tls {{ cert_file: {quoted(cert)}, key_file: {quoted(str(key))} }}\n" if cert else ""
    scheme = "tls" if cert else "nats"
    known = ""
    if cert:
        known = "# Where it is of a private CA, besides: ca_file, [server] of config.toml\n"
    if allow_plaintext and not cert and host not in LOOPBACK:
        known = "# The network encrypts: besides allow_plaintext = true, [server] of config.toml\n"
    return f"""\
# A bus for several machines. Whoever has its token may do everything on it.
#   {TOKEN_VARIABLE}='"..."' nats-server -c agentbus.conf
# In those quotes, which are no part of it: without them 7m, or digits alone, are read as a number.
# On each machine, with the token in a file that only its user can read:
#   AGENTBUS_URL={scheme}://HOST:{port} AGENTBUS_TOKEN_FILE=/path/to/token
{known}listen: {quoted(listen)}
server_name: agentbus
authorization {{ token: ${TOKEN_VARIABLE} }}
{tls}{jetstream(store, int(max_gib * _GIB))}"""


def _is_private(host: str) -> bool:
    with suppress(ValueError):  # a name, or all addresses
        return is_private(host)
    return False


def quoted(text: str) -> str:
    """Quote a string as nats-server reads it: of what JSON has for control characters it knows few.

    It knows no escapes for letters, either.
    """
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    letter = found[0]
    return f"\\{letter}" if letter in '"\\' else f"\\x{ord(letter):02x}"
