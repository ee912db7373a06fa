# SPDX-License-Identifier: Apache-2.0
"""What a person can do about a wake that is held.

    >>> todo_for("deaf_session", "coder")
    'Say "read your inbox" in the open session of coder.'

Pure: this program's own sentences, with the commands in them.
"""

from __future__ import annotations

from mcp_agentbus.config.rules import least_profile
from mcp_agentbus.core.notices import OF_WAKES, Reason


def todo_for(
    reason: str, agent: str, sender: str = "", host: str = "", *, is_begun: bool = True
) -> str:
    """Return what a person can do about a wake that is held.

    Args:
        reason: a `Reason`.
        agent: whose wake.
        sender: of its task; empty if that is not known.
        host: what starts the agent; empty if that is not known.
        is_begun: whether the last wake started at all, where the next one is held by that.
    """
    profile = least_profile(host) if host else "answer"
    opened = f"open a session of {agent}"
    from_whom = sender or "its sender"
    if reason in OF_WAKES and not is_begun:
        return f"Run `agentbus agent wake {agent}` once that is mended, or {opened}."
    todo: dict[str, str] = {
        Reason.NOT_ACCEPTED: f"Add {from_whom} to accept_from of [agents.{agent}] in config.toml, "
        "or leave it: whoever reads the inbox ends it as rejected.",
        Reason.NOT_ALLOWED: f"Add {from_whom} to wake_from of [agents.{agent}] in config.toml, or "
        f"{opened}.",
        Reason.LIMIT_0: f"Take the limit of 0 out of [wake] or [agents.{agent}] in config.toml, or "
        f"{opened}.",
        Reason.BACKOFF: f"Wait, or {opened}; `agentbus agent wakes {agent}` shows how the last "
        "wake ended.",
        Reason.GAVE_UP: f"`agentbus agent wakes {agent}` shows how they ended; to try again: "
        f"`agentbus agent wake {agent}`.",
        Reason.PROFILE: f"`agentbus agent add {agent} --replace --wake {profile}` lets a task "
        f"start one, or {opened}.",
        Reason.MODE: f"Take permission_mode out of [agents.{agent}] in config.toml, or set one "
        f"that its host has, or {opened}.",
        Reason.UNKNOWN_HOST: f"`agentbus agent add {agent} --host HOST --dir FOLDER`, or {opened}.",
        Reason.DEAF_SESSION: f'Say "read your inbox" in the open session of {agent}.',
        Reason.UNANSWERED: f"`agentbus tasks --with {agent} --open` names the task; who sent it "
        "answers: `agentbus answer TASK TEXT`, or its user decides: `agentbus approve TASK`, or "
        "deny.",
        Reason.LEDGER: "`agentbus doctor` says how to mend it.",
    }
    return todo.get(reason, f"Wait, or {opened}.")
