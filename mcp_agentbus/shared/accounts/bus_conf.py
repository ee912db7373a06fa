# SPDX-License-Identifier: Apache-2.0
"""What a server is told of the bus itself: its owner's key, and what accounts are given of it.

    >>> print(bus_accounts(Keys(admin=..., system=..., lobby=...)))
    accounts {
      BUS { ...

Pure. All that the bus holds is in the account BUS, in which only its owner's key is. Who imports
what is written here and in `conf` alone, since no user writes a configuration; so the exports name
no account, and BUS stays as it is where one joins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mcp_agentbus.bus.login.account import FOR, GATE, LOBBY
from mcp_agentbus.bus.login.nkey import is_public

#: NATS's accounts that are no user's: in capitals, which none of theirs has but for the A.
BUS: Final = "BUS"
SYSTEM: Final = "SYS"
INVITED: Final = "LOBBY"
#: The file that nats.conf includes: it lies beside nats.conf.
JOINED_FILE: Final = "accounts.conf"
#: How it begins: with nobody's account it is all that is in it.
JOINED_HEAD: Final = (
    "# Who has joined, as the bus keeps it; `agentbus server gate` writes it anew.\n"
)
#: What all hear.
EVENTS: Final = "agentbus-events.>"
HEARTBEATS: Final = "agentbus.*.heartbeat.*"

#: Whoever has a line, used or not, may connect: for the moment in which they join.
INVITED_MAX: Final = 100
_REQUEST_MAX_BYTES: Final = 4096


@dataclass(frozen=True)
class Keys:
    """The public keys of a server's own users."""

    #: Of its owner and its gate, who may do everything on the bus.
    admin: str
    #: Of who tells the server to read its configuration anew.
    system: str
    #: Of whoever has a line to join by: all have the same, and may ask for nothing else.
    lobby: str


def bus_accounts(keys: Keys) -> str:
    """Return the part of nats.conf that says who may log in; it holds no secret."""
    return f"""\
accounts {{
  {BUS} {{
    jetstream: enabled
    users: [{{ nkey: {checked_key(keys.admin)} }}]
    exports: [
      {{ service: "{GATE}.*.>", response_type: stream }}
      {{ stream: "{FOR}.*.>" }}
      {{ stream: "{HEARTBEATS}" }}
      {{ stream: "{EVENTS}" }}
      {{ service: "{LOBBY}", accounts: [{INVITED}] }}
    ]
  }}
  {SYSTEM} {{ users: [{{ nkey: {checked_key(keys.system)} }}] }}
  {INVITED} {{
    users: [{{
      nkey: {checked_key(keys.lobby)}
      permissions {{ publish: ["{LOBBY}"], subscribe: ["_INBOX.>"] }}
    }}]
    limits {{ max_connections: {INVITED_MAX}, max_payload: {_REQUEST_MAX_BYTES} }}
    imports: [{{ service: {{ account: {BUS}, subject: "{LOBBY}" }} }}]
  }}
  include "{JOINED_FILE}"
}}
system_account: {SYSTEM}
"""


def checked_key(public: str) -> str:
    """Return a public key; raises ValueError for what is none, and would mean something else."""
    if not is_public(public):
        raise ValueError(public)
    return public
