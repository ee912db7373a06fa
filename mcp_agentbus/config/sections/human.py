# SPDX-License-Identifier: Apache-2.0
"""How this user is told that something needs a person, and of what.

    [human]
    by = "desktop"
    quiet_hours = "22:00-07:00"

A key that would have no effect is refused, and so is one that is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_agentbus.config.tables import Key, checked, readers
from mcp_agentbus.config.values import Hours, absolute, command, hours, one_of, some_of
from mcp_agentbus.errors import BadSetup

#: What a person may be told of.
NEEDS: Final = ("needs_approval", "needs_input", "parked", "held", "failed", "denied", "budget")
#: By what, beside a program of the user's own.
WAYS: Final = ("desktop", "webhook", "apprise")


@dataclass(frozen=True)
class Human:
    """How this user is told that something needs a person."""

    #: One of `WAYS`; or `command`, the argv that is started with the line on its standard input.
    by: str = ""
    command: tuple[str, ...] = ()
    #: A 0600 file with the address, which is a secret.
    url_file: Path | None = None
    #: Some of `NEEDS`. A failed task is its sender's to deal with, so it is no default.
    on: frozenset[str] = frozenset(NEEDS) - {"failed"}
    quiet_hours: Hours | None = None

    @property
    def is_told(self) -> bool:
        """Whether there is a way to tell anything."""
        return bool(self.by or self.command)


#: Every key of [human].
HUMAN_KEYS: Final = (
    Key("by", one_of(*WAYS), Human,
        "`desktop`: a notification of this machine's desktop. `webhook`: a POST of `{\"text\": "
        "...}`, as Slack and its like take it. `apprise`: Telegram, ntfy and a hundred others.",
        '"desktop"', "nobody is told"),
    Key("command", command, Human,
        "In the place of `by` a program of yours with its arguments; what there is to tell is a "
        "line on its standard input.",
        '["/home/me/bin/ring", "--softly"]', "none"),
    Key("url_file", absolute, Human,
        "With `webhook` and `apprise` the file (0600) that holds the address; for `apprise` one "
        "a line.",
        '"~/.config/agentbus/human.url"', "must be given"),
    Key("on", some_of(*NEEDS), Human,
        "What you are told of: " + ", ".join(f"`{need}`" for need in NEEDS) + ".",
        '["needs_approval", "failed"]', "all but `failed`"),
    Key("quiet_hours", hours, Human,
        "When you are told nothing, in this machine's time; what comes meanwhile is told after.",
        '"22:00-07:00"', "none"),
)  # fmt: skip
_IN_HUMAN: Final = readers(HUMAN_KEYS)


def read(table: object, where: str) -> Human:
    """Return how a person is told.

    Raises:
        BadSetup: a key that does not exist or has no effect here, one that is missing, or a value
            that makes no sense.
    """
    human = Human(**(given := checked(table, _IN_HUMAN, where)))
    if human.by and human.command:
        raise BadSetup(f"{where} has by and command.", hint="Take one of them out.")
    if given and not human.is_told:
        raise BadSetup(
            f"{where} has neither by nor command, so nobody is told.",
            hint='Say how: by = "desktop"',
        )
    if human.is_told and (human.by in {"webhook", "apprise"}) != bool(human.url_file):
        how = f"by {human.by}" if human.by else "by a command"
        wrong = "url_file has no effect" if human.url_file else "url_file is missing"
        raise BadSetup(
            f"{where}: {wrong}, told {how}.",
            hint="It is for webhook and apprise, and only for those.",
        )
    return human
