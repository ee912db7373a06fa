# SPDX-License-Identifier: Apache-2.0
"""What a server is told of those who have joined: by which key each gets in, and what it may say.

    >>> print(joined(records, keys))
    A_laptop { ...

Pure. Each account is one of NATS's own, beside that of the bus: its user may say nothing but to the
gate under its own name, and hear nothing but what the gate, or each agent's sign of life, says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from mcp_agentbus.bus.login.account import ALL, FOR, GATE
from mcp_agentbus.shared.accounts.bus_conf import (
    BUS,
    EVENTS,
    HEARTBEATS,
    JOINED_HEAD,
    Keys,
    checked_key,
)
from mcp_agentbus.shared.accounts.record import AccountRecord, account_name

# What a machine's listener, sessions and commands may have open at once; a session that has no
# listener has a connection of its own, with some ten subscriptions. For each that takes nothing the
# server holds 16 MiB at most, in memory (`server_conf`).
_CONNECTIONS_MAX: Final = 64
_SUBSCRIPTIONS_MAX: Final = 10_000
_ACCOUNT: Final = re.compile(r"^A_(\S+) \{$", re.MULTILINE)


def nats_account(name: str) -> str:
    """Return the account of NATS's own that an account is."""
    return f"A_{name}"


def who_gets_in(records: Iterable[AccountRecord], keys: Keys) -> list[str]:
    """Return the names of those whom the server lets in.

    A key that is the server's own, or that an account had before, lets nobody else in: the server
    would take nothing of a configuration that has it twice.
    """
    return sorted(record.name for record in _let_in(records, keys))


def joined(records: Iterable[AccountRecord], keys: Keys) -> str:
    """Return the text of `JOINED_FILE`: those who get in, by name."""
    let_in = sorted(_let_in(records, keys), key=lambda each: each.name)
    return JOINED_HEAD + "".join(map(_account, let_in))


def names_in(text: str) -> set[str]:
    """Return the names of those whom a text of `joined` lets in."""
    return set(_ACCOUNT.findall(text))


def _let_in(records: Iterable[AccountRecord], keys: Keys) -> list[AccountRecord]:
    let_in, taken = list[AccountRecord](), {keys.admin, keys.system, keys.lobby}
    for record in sorted(records, key=lambda each: (each.joined_at, each.name)):
        if record.gets_in and record.key not in taken:
            taken.add(record.key)
            let_in.append(record)
    return let_in


def _account(record: AccountRecord) -> str:
    name = account_name(record.name)
    # To what is under the first of these words nothing else may be imported: it would not be heard.
    return f"""\
{nats_account(name)} {{
  users: [{{
    nkey: {checked_key(record.key)}
    permissions {{
      publish: ["{GATE}.{name}.>", "agentbus.*.succeed.*", "_INBOX.>", "$SYS.REQ.USER.INFO"]
      subscribe: ["_INBOX.>", "agentbus.>", "{ALL}.>", "{EVENTS}"]
    }}
  }}]
  limits {{ max_connections: {_CONNECTIONS_MAX}, max_subscriptions: {_SUBSCRIPTIONS_MAX} }}
  imports: [
    {{ service: {{ account: {BUS}, subject: "{GATE}.{name}.>" }} }}
    {{ stream: {{ account: {BUS}, subject: "{FOR}.{name}.agentbus.>" }}, to: "agentbus.>" }}
    {{ stream: {{ account: {BUS}, subject: "{HEARTBEATS}" }}, to: "{ALL}.$1.heartbeat.$2" }}
    {{ stream: {{ account: {BUS}, subject: "{EVENTS}" }} }}
  ]
}}
"""
