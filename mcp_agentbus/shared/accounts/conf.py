# SPDX-License-Identifier: Apache-2.0
"""What a server is told of who may log in, and say what: the rights of accounts, as NATS has them.

    >>> print(server(keys))        # of nats.conf: the bus, its owner, and who was invited
    accounts {
      BUS { ...
    >>> print(joined(records))     # accounts.conf, which the former includes and the gate writes

Pure. All that the bus holds is in the account BUS, in which only its owner's key is. Each account
that has joined is an account of NATS's own: its user may say nothing but to the gate under its own
name, and hear nothing but what the gate, or each agent's sign of life, says to it. Who imports what
stands here alone, since no account writes a configuration; so the exports name no account, and the
configuration of BUS does not change where one joins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mcp_agentbus.bus.login.account import ALL, FOR, GATE, LOBBY
from mcp_agentbus.bus.login.nkey import is_public
from mcp_agentbus.shared.accounts.record import AccountRecord, account_name

#: NATS's accounts that are no user's: in capitals, which none of theirs has but for the A.
BUS: Final = "BUS"
SYSTEM: Final = "SYS"
INVITED: Final = "LOBBY"
#: The file that `server` includes: it lies beside nats.conf.
JOINED_FILE: Final = "accounts.conf"
_EVENTS: Final = "agentbus-events.>"
_HEARTBEATS: Final = "agentbus.*.heartbeat.*"
# What a machine's listener, sessions and commands may have open at once; a session that has no
# listener has a connection of its own, with some ten subscriptions.
_CONNECTIONS_MAX: Final = 256
_SUBSCRIPTIONS_MAX: Final = 10_000


@dataclass(frozen=True)
class Keys:
    """The public keys of a server's own users."""

    #: Of its owner and its gate, who may do everything on the bus.
    admin: str
    #: Of who tells the server to read its configuration anew.
    system: str
    #: Of whoever has a line to join by: all have the same, and may ask for nothing else.
    lobby: str


def nats_account(name: str) -> str:
    """Return the account of NATS's own that an account is."""
    return f"A_{name}"


def server(keys: Keys) -> str:
    """Return the part of nats.conf that says who may log in; it holds no secret."""
    return f"""\
accounts {{
  {BUS} {{
    jetstream: enabled
    users: [{{ nkey: {_key(keys.admin)} }}]
    exports: [
      {{ service: "{GATE}.*.>", response_type: stream }}
      {{ stream: "{FOR}.*.>" }}
      {{ stream: "{_HEARTBEATS}" }}
      {{ stream: "{_EVENTS}" }}
      {{ service: "{LOBBY}", accounts: [{INVITED}] }}
    ]
  }}
  {SYSTEM} {{ users: [{{ nkey: {_key(keys.system)} }}] }}
  {INVITED} {{
    users: [{{
      nkey: {_key(keys.lobby)}
      permissions {{ publish: ["{LOBBY}"], subscribe: ["_INBOX.>"] }}
    }}]
    imports: [{{ service: {{ account: {BUS}, subject: "{LOBBY}" }} }}]
  }}
  include "{JOINED_FILE}"
}}
system_account: {SYSTEM}
"""


def joined(records: Iterable[AccountRecord], keys: Keys) -> str:
    """Return the text of `JOINED_FILE`: those who get in, by name.

    A key that is the server's own, or that an account had before, lets nobody else in: the server
    would take nothing of a configuration that has it twice.
    """
    head = "# Who has joined, as the bus keeps it: written anew by `agentbus server gate`.\n"
    let_in, taken = dict[str, str](), {keys.admin, keys.system, keys.lobby}
    for record in sorted(records, key=lambda each: (each.joined_at, each.name)):
        if record.gets_in and record.key not in taken:
            taken.add(record.key)
            let_in[record.name] = _account(record)
    return head + "".join(let_in[name] for name in sorted(let_in))


def _account(record: AccountRecord) -> str:
    name = account_name(record.name)
    # To what is under the first of these words nothing else may be imported: it would not be heard.
    return f"""\
{nats_account(name)} {{
  users: [{{
    nkey: {_key(record.key)}
    permissions {{
      publish: ["{GATE}.{name}.>", "agentbus.*.succeed.*", "_INBOX.>", "$SYS.REQ.USER.INFO"]
      subscribe: ["_INBOX.>", "agentbus.>", "{ALL}.>", "{_EVENTS}"]
    }}
  }}]
  limits {{ max_connections: {_CONNECTIONS_MAX}, max_subscriptions: {_SUBSCRIPTIONS_MAX} }}
  imports: [
    {{ service: {{ account: {BUS}, subject: "{GATE}.{name}.>" }} }}
    {{ stream: {{ account: {BUS}, subject: "{FOR}.{name}.agentbus.>" }}, to: "agentbus.>" }}
    {{ stream: {{ account: {BUS}, subject: "{_HEARTBEATS}" }}, to: "{ALL}.$1.heartbeat.$2" }}
    {{ stream: {{ account: {BUS}, subject: "{_EVENTS}" }} }}
  ]
}}
"""


def _key(public: str) -> str:
    if not is_public(public):
        raise ValueError(public)
    return public
