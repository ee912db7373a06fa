# SPDX-License-Identifier: Apache-2.0
"""How a person is told, as `agentbus human` shows and tries it.

    $ agentbus human
    You are told by desktop: needs_approval, needs_input, parked, held, budget.
    2026-11-27 05:10  coder needs an approval: agentbus approve 9d0c2f1e, or deny (desktop took it)

It reads the file of what was told, which the listener keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_agentbus.config.sections.human import NEEDS
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.text import many, minute, stamp
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.human import ways
from mcp_agentbus.human.book import TapBook
from mcp_agentbus.human.tap import Tapped, tap

_TEST: Final = "This is a test: so you are told what needs you."
_HOW: Final = 'Write into config.toml, under [human]: by = "desktop"'


def data(settings: Settings) -> dict[str, Any]:
    """Return how a person is told, why not, and what was told last."""
    human, book = settings.human, TapBook(settings.taps_file)
    hours = human.quiet_hours
    return {
        "by": ways.name(human) if human.is_told else None,
        "on": [need for need in NEEDS if need in human.on] if human.is_told else [],
        "quiet_hours": f"{hours.begin:%H:%M}-{hours.end:%H:%M}" if hours else None,
        "wrong": _wrong(settings),
        "waiting": book.waiting.count,
        "taps": [
            {"at": stamp(tap.at), "line": tap.line,
             "told": tap.is_told, "said": tap.said}
            for tap in book.taps
        ],
    }  # fmt: skip


def text(standing: Mapping[str, Any]) -> str:
    """Return the same as lines for a person."""
    if not standing["by"]:
        return f"You are told nothing. {_HOW}"
    hours = standing["quiet_hours"]
    quiet = f"; not from {hours.replace('-', ' to ')}" if hours else ""
    lines = [f"You are told by {standing['by']}: {', '.join(standing['on'])}{quiet}."]
    lines += [f"IT CANNOT BE: {standing['wrong']}"] if standing["wrong"] else []
    lines += [
        f"{minute(tap['at'])}  {tap['line']} ({tap['said'].rstrip('.')})"
        for tap in standing["taps"]
    ]
    if count := standing["waiting"]:
        waits = "waits" if count == 1 else "wait"
        lines.append(f"{many(count, 'thing')} {waits} to be told.")
    if not standing["taps"]:
        lines.append("Nothing was told yet. Try it: agentbus human --test")
    return "\n".join(lines)


async def test(settings: Settings) -> Tapped:
    """Tell a person something, whatever the hour; it is not noted.

    Raises:
        BadSetup: nobody is to be told.
    """
    if not settings.human.is_told:
        raise BadSetup("Nobody is to be told anything.", hint=_HOW)
    return await tap(settings.human, _TEST, settings.environ)


def test_text(tapped: Tapped) -> str:
    """Return what became of it."""
    seen = "If you have not seen it, look there." if tapped.is_told else "Nobody was told."
    return f"{tapped.said} {seen}"


def _wrong(settings: Settings) -> str:
    """Return why a person cannot be told, as far as that shows without telling; or nothing."""
    if settings.human.is_told:
        try:
            ways.program(settings.human, _TEST, settings.environ)
        except BadSetup as error:
            return str(error)
    return ""
