# SPDX-License-Identifier: Apache-2.0
"""How ids are spelled, checked and made: of agents, inboxes, roles, tasks, sessions.

    >>> inbox_of("role:review")
    'role-review'
    >>> is_agent("coder"), is_agent("a.b"), is_agent("-rf")
    (True, False, False)

Whatever becomes part of a subject, a path or an argument is checked here once, so that no dot,
wildcard or leading dash of another gets in: by a function that raises where a caller has written
it, by one that tells (`is_...`) where it came over the wire. Which agent a session is, and whether
there is one of a name, others know.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeGuard, get_args

from mcp_agentbus.errors import BadInput

Priority = Literal["high", "normal", "low"]
#: Each priority has a lane of its own in an inbox; in the order in which they are read.
LANES: Final[tuple[Priority, ...]] = get_args(Priority)
#: The lanes whose tasks wake an agent, if its user has not said otherwise.
WAKE_ON: Final[tuple[Priority, ...]] = ("high",)
#: The address of all agents that are registered.
EVERYBODY: Final = "all"
#: How the inbox of a role begins, and so no agent's id.
ROLE_PREFIX: Final = "role-"
#: In a list of senders: everybody.
ANY_SENDER: Final = "*"
#: Names that no agent may have: an address, and one for what this program itself may say.
RESERVED: Final = frozenset({EVERYBODY, "system"})
#: How the id of a shell's session begins: no process of it is there between two commands.
SHELL_PREFIX: Final = "shell-"
#: So much of what is said of an agent is kept.
DESCRIPTION_MAX_CHARS: Final = 300
#: How the ids begin with which `agentbus doctor` tries a hook; what they are told is not noted.
PROBE: Final = "doctor-"
#: What the one has behind the other's id who is made up by it as well, to have a task of that one.
PROBED: Final = "-worker"

_AGENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Wider than the ids made here, so that ids of other producers can be answered.
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_OWN_TASK_ID = re.compile(r"[0-9a-f]{32}")
# Of an id so much is enough where only one begins with it, as of git's commits.
_SHORT_ID_CHARS: Final = 6
_NAMED_MAX: Final = 5
_ROLE: Final = "role:"
_SHELL: Final = "shell"
_PYTHON: Final = "python"
_SESSION = re.compile(rf"(?:{SHELL_PREFIX})?[0-9a-f]{{1,32}}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


@dataclass(frozen=True)
class Agent:
    """Who a session speaks for."""

    id: str
    #: The host's name: `claude-code`, `cursor`, `openclaw`; `mcp` for a client of MCP without one
    #: that is known, such as a library; `shell` for commands; else `python`, a program by the API.
    host: str = _PYTHON
    #: One line for the roster, of at most 300 characters.
    description: str = ""
    #: The shared inboxes it also reads.
    roles: tuple[str, ...] = ()
    #: In whose worker's program its session runs, so that what it sends goes on from what that is
    #: at; empty if in none.
    worker: str = ""
    #: Whose tasks it takes at all: ids, `role:NAME`, `ANY_SENDER`; by its user, see `accepts`.
    accept_from: tuple[str, ...] = (ANY_SENDER,)
    #: Whether its user has set it up on this machine: what is not said of it here was taken away.
    set_up: bool = field(default=False, compare=False)

    def check(self) -> None:
        """See that it is one as the rules are; a program may have said anything.

        Raises:
            BadInput: its id, a role or its description breaks its rule, or a list is none.
        """
        agent_id(self.id)
        for name in ("roles", "accept_from"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list) or not all(isinstance(x, str) for x in value):
                raise BadInput(
                    f"The {name} of {self.id} are {str(value)[:80]!r}, which is no tuple of names.",
                    hint=f"Write {name}=('code',), with the comma, also for a single one.",
                )
        for role in self.roles:
            role_name(role)
        if not isinstance(self.description, str):
            raise BadInput(
                f"The description of {self.id} is no text.", hint="Give one line, or leave it out."
            )
        description(self.description)

    @property
    def inboxes(self) -> tuple[str, ...]:
        """The inboxes it reads: its own, then those of its roles."""
        return (self.id, *(ROLE_PREFIX + role for role in self.roles))

    def without(self, roles: Collection[str]) -> Agent:
        """Return it as one that does not have these roles."""
        return replace(self, roles=tuple(role for role in self.roles if role not in roles))

    def by_now(self, said: Agent, before: Agent) -> Agent:
        """Return it as its user says it is, who had said before that it is as `before`.

        Others may have given it roles, or a description, of which its user has said nothing, as a
        program by the API.
        """
        others = (role for role in self.roles if role not in before.roles)
        is_others = self.description != before.description and not said.description
        return replace(
            self,
            description=self.description if is_others else said.description,
            roles=tuple(dict.fromkeys((*said.roles, *others))),
            accept_from=said.accept_from,
            set_up=True,
        )

    def by_mcp(self) -> Agent:
        """Return it as one whose session an MCP client has started; its id stays what it is."""
        return replace(self, host="mcp") if self.host == _SHELL else self


def is_probe(owner: str, inbox: str) -> bool:
    """Tell whether a task is between two that `agentbus doctor` has made up, to try the bus."""
    return owner.startswith(PROBE) and inbox == owner + PROBED


def accepts(
    agent: str, accept_from: Collection[str], sender: str, roles: Collection[str] = ()
) -> bool:
    """Tell whether an agent takes tasks of a sender that has these roles; its own it always takes.

    The one rule of it, for whoever sends, claims, wakes or explains.
    """
    named = {ANY_SENDER, sender, *map(role_address, roles)}
    return sender == agent or not named.isdisjoint(accept_from)


def _keeps(rule: re.Pattern[str], value: object) -> bool:
    """Tell whether a value keeps a rule; programs, and peers, may give any kind of value."""
    return isinstance(value, str) and rule.fullmatch(value) is not None


def agent_id(value: str) -> str:
    """Return `value` if it may name an agent.

    Raises:
        BadInput: it is not `[a-z0-9][a-z0-9_-]{0,62}`, or it is reserved.
    """
    if not _keeps(_AGENT, value):
        raise BadInput(
            f"{str(value)[:80]!r} is not an agent id.",
            hint="Use 1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter or digit.",
        )
    if value in RESERVED or value.startswith(ROLE_PREFIX):
        raise BadInput(
            f"{value!r} is reserved.", hint="Address a role as 'role:NAME' and everybody as 'all'."
        )
    return value


def role_name(value: str) -> str:
    """Return `value` if it may name a role.

    Raises:
        BadInput: its inbox `role-NAME` would not fit the rule for agent ids.
    """
    if not is_inbox(f"{ROLE_PREFIX}{value}"):
        raise BadInput(
            f"{str(value)[:80]!r} is not a role name.", hint="Use 1 to 58 of a-z, 0-9, '_' and '-'."
        )
    return value


def inbox_of(address: str) -> str:
    """Return the inbox that `address` (an agent id or `role:NAME`) names.

    Raises:
        BadInput: it is neither.
    """
    if isinstance(address, str) and is_role_address(address):
        return ROLE_PREFIX + role_name(address.removeprefix(_ROLE))
    return agent_id(address)


def address_of(inbox: str) -> str:
    """Return how people write `inbox`: the reverse of `inbox_of`."""
    if inbox.startswith(ROLE_PREFIX):
        return role_address(inbox.removeprefix(ROLE_PREFIX))
    return inbox


def role_address(role: str) -> str:
    """Return how people write a role that tasks are for, or whose senders are meant."""
    return f"{_ROLE}{role}"


def is_role_address(address: str) -> bool:
    """Tell whether that is written as a role is, whether or not there can be one of that name."""
    return address.startswith(_ROLE)


def description(line: str) -> str:
    """Return what is said of an agent if all of it can be kept.

    Raises:
        BadInput: it has more than 300 characters.
    """
    if len(line) > DESCRIPTION_MAX_CHARS:
        raise BadInput(
            f"The description has {len(line):,} characters; the limit is {DESCRIPTION_MAX_CHARS}.",
            hint="Shorten it to what tells this agent from others.",
        )
    return line


def is_agent(token: str) -> bool:
    """Tell whether a subject token read from the wire keeps the rule of `agent_id`."""
    reserved = token in RESERVED or token.startswith(ROLE_PREFIX)
    return not reserved and _AGENT.fullmatch(token) is not None


def is_inbox(token: str) -> bool:
    """Tell whether a subject token read from the wire can be an inbox: an agent's or a role's."""
    if not token.startswith(ROLE_PREFIX):
        return is_agent(token)
    role = token.removeprefix(ROLE_PREFIX)
    return _AGENT.fullmatch(token) is not None and _AGENT.fullmatch(role) is not None


def is_role(value: object) -> TypeGuard[str]:
    """Tell whether a value read from the wire keeps the rule of `role_name`."""
    return isinstance(value, str) and is_inbox(ROLE_PREFIX + value)


def is_sender(name: str) -> bool:
    """Tell whether a word read from the wire can stand in a list of senders."""
    if is_role_address(name):
        return is_role(name.removeprefix(_ROLE))
    return name == ANY_SENDER or is_agent(name)


def task_id(value: str) -> str:
    """Return `value` if it may be a task id.

    Raises:
        BadInput: it is not 1 to 64 letters, digits, '_' or '-'.
    """
    if not is_task_id(value):
        raise BadInput(
            f"{str(value)[:80]!r} is not a task id.",
            hint="Copy the task_id from the receipt or from read_inbox.",
        )
    return value


def is_task_id(value: str) -> bool:
    """Tell whether a value read from the wire keeps the rule of `task_id`."""
    return _keeps(_TASK_ID, value)


def is_own_task_id(value: str) -> bool:
    """Tell whether a value is a whole task id as this program makes them: a hash."""
    return _keeps(_OWN_TASK_ID, value)


def may_be_short(value: str) -> bool:
    """Tell whether a value may be the beginning of a task's id, and is no whole one of ours."""
    return not is_own_task_id(value) and is_task_id(value) and len(value) >= _SHORT_ID_CHARS


#: What to do where a number was given for a task, which no id is as short as.
PARKED_NUMBER: Final = (
    "So short a number is one of `agentbus parked`, which shows the task's id behind it."
)


def is_number(value: str) -> bool:
    """Tell whether a value is no id, but may be the number of a parked task."""
    return value.isdecimal() and len(value) < _SHORT_ID_CHARS


def whole_task_id(written: str, known: Collection[str]) -> str | None:
    """Return the one known id that begins with what was written; None if none does.

    Raises:
        BadInput: several begin with it, and none is it; the message names them.
    """
    if written in known:
        return written
    meant = sorted(each for each in known if each.startswith(written) and is_task_id(each))
    if not meant or not may_be_short(written):
        return None
    if len(meant) > 1:
        more = f" and {len(meant) - _NAMED_MAX} more" if len(meant) > _NAMED_MAX else ""
        raise BadInput(
            f"The ids of {len(meant)} tasks begin with {written}: "
            f"{', '.join(meant[:_NAMED_MAX])}{more}.",
            hint="Give one of them, or so much of it that no other begins the same.",
        )
    return meant[0]


def label(value: str, what: str) -> str:
    """Return `value` if it may be a thread id, task type or request id.

    Raises:
        BadInput: it is not 1 to 128 of letters, digits and `._:-`.
    """
    if not is_label(value):
        raise BadInput(
            f"{str(value)[:80]!r} is not a {what}.",
            hint="Use 1 to 128 letters, digits, '.', '_', ':' and '-', a letter or digit first.",
        )
    return value


def is_label(value: str) -> bool:
    """Tell whether a value read from the wire keeps the rule of `label`."""
    return _keeps(_LABEL, value)


def is_session(value: str) -> bool:
    """Tell whether a value read from the wire is spelled as the ids of sessions made here."""
    return _SESSION.fullmatch(value) is not None


def new_session_id() -> str:
    """Return an id for one session: 64 random bits, as an agent may have sessions anywhere."""
    return secrets.token_hex(8)
