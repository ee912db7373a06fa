# SPDX-License-Identifier: Apache-2.0
"""What was typed, before it is known what it means.

>>> words([])  # in a terminal
['status']
"""

# No `annotations` of __future__ either: a file more to be found and read.
import os

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from collections.abc import Iterable

# So begins the line of an invitation, see `shared.membership.invitation`.
_INVITES = "agentbus-join-"


def words(argv: list[str]) -> list[str]:
    """Return what was typed; nothing, in a terminal, asks what goes on."""
    if not argv and os.isatty(1):
        return ["status"]
    return argv


def invites(argv: "Iterable[str]") -> bool:
    """Tell whether the line of an invitation is among it: a secret, and no argument."""
    return any(_INVITES in word for word in argv)
