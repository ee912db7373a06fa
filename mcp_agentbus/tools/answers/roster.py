# SPDX-License-Identifier: Apache-2.0
"""The roster as text: who is registered, who is there, what waits for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mcp_agentbus.core.framing import frame, one_line
from mcp_agentbus.core.ids import role_address
from mcp_agentbus.handoff.agents import Listed, Page
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.tools.answers import layout, words
from mcp_agentbus.tools.answers.readers import MODEL, Reader

# For what an answer says of those for which it has no room.
_MORE_CHARS: Final = 300
# Of a line in a frame, what stands around it.
_INDENTED: Final = 5


def roster_text(page: Page, reader: Reader = MODEL) -> str:
    """Return one line per agent and per role of theirs, then what they say in a frame."""
    if not page.agents:
        return page.note or ("No more agents." if page.total else "No agent matches.")
    count = layout.fitting(_costs(page), layout.ROOM - _MORE_CHARS)
    listed = page.agents[:count]
    cursor = page.next_cursor if count == len(page.agents) else listed[-1].entry.id
    lines = [_listed_line(agent) for agent in listed]
    held = {role for agent in listed for role in agent.entry.roles}
    lines += [_role_line(role, page) for role in page.roles if role in held]
    if cursor:
        lines.append(f"{page.total} agents in all; {reader.page(cursor)} gives the next.")
    lines += [page.note] if page.note else []
    if said := "\n".join(filter(None, (_says_line(agent.entry) for agent in listed))):
        lines += ["They say of themselves:", frame(said, said_by="")]
    return "\n".join(lines)


def _costs(page: Page) -> Iterator[int]:
    """Yield how long each agent makes an answer, with the roles that none before it holds."""
    told: set[str] = set()
    for agent in page.agents:
        new = page.roles.keys() & set(agent.entry.roles) - told
        told |= new
        lines = [_listed_line(agent), _says_line(agent.entry)]
        lines += [_role_line(role, page) for role in new]
        yield sum(map(len, lines)) + len(new) + _INDENTED


def _role_line(role: str, page: Page) -> str:
    waiting = words.counts(page.roles[role])
    return f"{role_address(role)}: whoever holds that role \u00b7 waiting: {waiting}"


def _listed_line(agent: Listed) -> str:
    return f"{_entry_line(agent.entry)} waiting: {words.counts(agent.waiting)}"


def _says_line(entry: Entry) -> str:
    return f"{entry.id}: {one_line(entry.description, 300)}" if entry.description else ""


def _entry_line(entry: Entry) -> str:
    seen = f", last seen {words.when(entry.last_seen)}" if entry.last_seen else ""
    roles = f" roles: {', '.join(entry.roles)} \u00b7" if entry.roles else ""
    account = f" account: {entry.account} \u00b7" if entry.account else ""
    hosts = f" hosts: {', '.join(entry.hosts)} \u00b7" if entry.hosts else ""
    state = "not known yet (the bus server has just started)"
    state = state if entry.state == "not known" else entry.state
    return f"{entry.id}: {state}{seen} \u00b7{account}{hosts}{roles}"
