# SPDX-License-Identifier: Apache-2.0
"""Whether an agent can be started for one task alone, as its user has approved.

    >>> profile_of(rules, "coder", task_id, "work")
    'work'

When that is, `policy.approved` says.
"""

from __future__ import annotations

from typing import Final

from mcp_agentbus.config.rules import Profile, Rules
from mcp_agentbus.core import hosts, ids
from mcp_agentbus.errors import BadInput, Refused
from mcp_agentbus.store.task import Record
from mcp_agentbus.wakes.facts import Waiting

#: The profiles that an approval may name.
PROFILES: Final[tuple[Profile, ...]] = ("answer", "work")


def profile_of(rules: Rules | None, agent: str, task_id: str, named: str) -> Profile:
    """Return the profile with which an agent is started for one task, as its user has named it.

    Raises:
        BadInput: it is none of `PROFILES`.
        Refused: nothing says how the agent is started, or its host's sessions cannot be limited to
            one task, or the id is no own one.
    """
    profile = next((each for each in PROFILES if each == named), None)
    if profile is None:
        raise BadInput(f"{named[:40]!r} is no profile.", hint=f"Use {' or '.join(PROFILES)}.")
    if rules is None:
        raise Refused(
            f"Nothing says how {agent} is started.",
            hint=f"Open a session of {agent}, or run `agentbus agent add {agent} --host "
            "claude-code --dir FOLDER` and then the same again.",
        )
    if not hosts.named(rules.host).limited:
        raise Refused(
            f"{agent} runs in {rules.host}, whose sessions cannot be given one task alone.",
            hint=f"Open a session of {agent} yourself.",
        )
    if not ids.is_own_task_id(task_id):  # it goes into an argv, and a peer may have made it up
        raise Refused(
            "The task's id is not one that agentbus gives, and nothing is started by such a one.",
            hint=f"Open a session of {agent} yourself.",
        )
    return profile


def waiting(record: Record) -> Waiting:
    """Return the task as what waits for its agent."""
    return Waiting.of_task(record.task_id, record.owner, record.inbox, record.priority)
