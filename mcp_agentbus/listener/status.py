# SPDX-License-Identifier: Apache-2.0
"""What a listener says of its agents: as data for `--json`, as lines for a person.

    $ agentbus listen --status
    listener runs: 0.1.0, pid 4711, since 2026-11-21 10:00
    coder  claude-code, wake profile answer · 1 live session · waiting: 0 high, 2 other

Nothing of it is a peer's: ids, counts, times and this program's own sentences; what a host has
printed stands in a frame. It asks nobody, and loads no library: a person waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import framing, notices
from mcp_agentbus.core.children.descriptors import mend
from mcp_agentbus.core.ids import PROBE, WAKE_ON, address_of, role_address
from mcp_agentbus.core.processes import Process
from mcp_agentbus.core.text import many, minute, stamp
from mcp_agentbus.errors import NoListener, SilentListener
from mcp_agentbus.version import __version__

if TYPE_CHECKING:  # both load what a person would wait for: pydantic and SQLite
    from mcp_agentbus.listener.desk import Desk
    from mcp_agentbus.store.outbox.outbox import Envelope
    from mcp_agentbus.wakes.ledger import Row

# Of what a host printed, in a frame: a message with which a program ends has room, several do in
# one answer. Of a longer one the end, which does in any case.
_OUTPUT_CHARS: Final = 5_000
_ENDING_CHARS: Final = 400
#: What to do where a listener of another bus, or of other folders, holds the socket.
ELSEWHERE: Final = (
    "There is one listener for all: set the same AGENTBUS_HOME, AGENTBUS_URL and XDG_* variables "
    "everywhere, or none, then run `agentbus listen --replace`, or `agentbus listen --install` "
    "if a service manager keeps it."
)


#: How a listener stands for who asks it; docs/words.md says what each word means.
State = Literal["stopped", "silent", "foreign", "away", "degraded", "runs"]
# Of what a wake tells, as its keys begin.
_KINDS: Final = ("task", "result", "answer")
# What it says of its parts, "ok" or why it does not work; what it does then.
_PARTS: Final[Mapping[str, str]] = {
    "ledger": "HOLDS EVERY WAKE",
    "config": "GOES ON WITH THE RULES OF BEFORE",
    "archive": "KEEPS NO HISTORY",
    "human": "CANNOT TELL YOU",
}


def absent(error: NoListener) -> State:
    """Return how a listener stands that has not answered."""
    return "silent" if isinstance(error, SilentListener) else "stopped"


def seen_from(settings: Settings, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a listener has answered, with its `state` for who has these settings.

    With `elsewhere` as well: as `elsewhere` returns it.
    """
    differs = elsewhere(settings, answer)
    # What doctor has tried a bus by stays a while, and is nobody's who works there.
    agents = [
        agent
        for agent in answer.get("agents", ())
        if agent.get("sessions") or agent.get("host") or not agent["agent"].startswith(PROBE)
    ]
    seen = {**answer, "agents": agents} if "agents" in answer else answer
    return {**seen, "elsewhere": differs, "state": _state(seen, differs)}


def _state(answer: Mapping[str, Any], differs: str) -> State:
    if differs:
        return "foreign"
    if answer.get("bus", "ok") != "ok":
        return "away"
    parts = any(answer.get(part, "ok") != "ok" for part in _PARTS)
    agents = any(agent.get("says") for agent in answer.get("agents", ()))
    is_whole = (
        not (parts or agents or answer.get("failures")) and answer.get("version") == __version__
    )
    return "runs" if is_whole else "degraded"


def agent_data(
    desk: Desk, rules: Rules | None, sessions: int, *, away: bool, not_started: str = ""
) -> dict[str, Any]:
    """Return what is known of one agent; without a bus not how much waits.

    `not_started` is why the wake of before did not start by which the next one is held, or "".
    """
    until = stamp(desk.look_again_at) if desk.look_again_at else None
    return {
        "agent": desk.agent,
        "host": rules.host if rules else None,
        "profile": rules.profile if rules else None,
        "wake_on": list(rules.wake_on if rules else WAKE_ON),
        "sessions": sessions,
        "waking": desk.running is not None,
        # For programs, which ask by name; `held` is the same for people.
        "reason": desk.held,
        "held": notices.why_held(desk.held, not_started),
        "not_started": not_started,
        "until": until if desk.held else None,
        "waiting": vars(desk.counts) if desk.is_counted and not away else None,
        "says": "" if away else _says(desk),
        "refused": dict(desk.refused.most_common()),
        "refused_by": dict(desk.refused_by.most_common()),
    }


def _says(desk: Desk) -> str:
    if desk.blind:
        return f"it cannot be looked at, and is not woken: {desk.blind}"
    if desk.deaf:
        return f"it is looked at every half minute only: {desk.deaf}"
    if roles := ", ".join(map(role_address, sorted(desk.ungranted))):
        return (
            f"its account was not granted {roles}: take them out of its roles, or have the "
            "server's owner grant them by `agentbus server accounts NAME --role ROLE`"
        )
    return ""


def outbox_data(waits: Sequence[Envelope] | None, says: Mapping[str, str]) -> dict[str, Any]:
    """Return how much lies in the outbox, since when, and why it is not handed on, or "".

    None: it was not read yet. What was withdrawn is not counted.
    """
    left = [each for each in waits or () if not each.is_over]
    since = stamp(left[0].since) if left else None
    why = "; ".join(dict.fromkeys(says.values()))
    return {"waiting": None if waits is None else len(left), "since": since, "says": why}


def place(settings: Settings) -> dict[str, str]:
    """Return what tells a listener from one with other folders or on another bus."""
    return {
        "config_file": str(settings.config_file),
        "bus_at": settings.url or str(settings.data_dir),
    }


def elsewhere(settings: Settings, answer: Mapping[str, Any]) -> str:
    """Return how a listener that has answered differs in `place` from these settings, or ""."""
    ours = place(settings)
    theirs = {name: answer.get(name, value) for name, value in ours.items()}
    if theirs == ours:
        return ""
    return (
        f"it serves the bus at {theirs['bus_at']} by {theirs['config_file']}; "
        f"here it is {ours['bus_at']} by {ours['config_file']}"
    )


def text(standing: Mapping[str, Any]) -> str:
    """Return the lines for what the listener answered to `status`, as `seen_from` returns it."""
    relayed = standing["relayed"]
    serves = f", serves {relayed} of the live sessions" if relayed else ""
    since = minute(standing["since"])
    who = f"pid {standing['pid']}"
    # A listener of another container may answer, where both have the folder of the socket.
    if (process := _process(standing)) and not process.is_here:
        who = process._replace(since=0.0).where
    version = standing["version"]
    lines = [f"listener {standing['state']}: {version}, {who}, since {since}{serves}"]
    if version != __version__:
        lines.append(
            f"OLDER OR NEWER than the {__version__} that is installed: sessions serve themselves. "
            "Run `agentbus listen --replace`."
        )
    if standing["elsewhere"]:
        lines.append(f"ANOTHER BUS OR OTHER FOLDERS: {standing['elsewhere']}. {ELSEWHERE}")
    if standing["away_since"]:
        why = f". {says}" if (says := standing.get("away_says")) else ""
        lines.append(f"NO BUS since {minute(standing['away_since'])}: nobody is woken{why}")
    lines += [
        f"{warning}: {standing[part]}"
        for part, warning in _PARTS.items()
        if standing.get(part, "ok") != "ok"
    ]
    lines += [f"FAILED INSIDE: {each}. {mend(each)}" for each in standing.get("failures", ())]
    if (outbox := standing.get("outbox")) and outbox["waiting"] != 0:
        lines.append(f"OUTBOX: {outbox_line(outbox)}")
    agents = standing["agents"]
    width = max((len(agent["agent"]) for agent in agents), default=0)
    lines += [f"{agent['agent']:{width}}  {_agent_line(agent)}" for agent in agents]
    if not agents:
        lines.append("No agents. Add one: agentbus agent add ID --host HOST --dir FOLDER")
    return "\n".join(lines)


def outbox_line(outbox: Mapping[str, Any]) -> str:
    """Return what is said of an outbox in which something lies, or may lie."""
    count = outbox["waiting"]
    if count is None:
        return f"it was not read yet. {outbox['says']}".rstrip()
    what = f"{many(count, 'task')} stored here, not yet at the bus"
    since = f", since {minute(outbox['since'])}" if outbox["since"] else ""
    return f"{what}{since}. {outbox['says']}".rstrip()


def _process(standing: Mapping[str, Any]) -> Process | None:
    try:
        return Process(**standing["process"])
    except (LookupError, TypeError):  # of an earlier version
        return None


def woken_text(agent: Mapping[str, Any]) -> str:
    """Return the line for what it answered to `wake`."""
    if agent["waking"]:
        outcome = "a wake is under way"
    elif agent["held"]:
        outcome = f"held{_until(agent)}: {agent['held']}"
    else:
        outcome = "nothing waits that may wake it"
    return f"{agent['agent']}: {outcome} ({_waiting(agent)})."


def wakes_text(agent: str, rows: Sequence[Row]) -> str:
    """Return the lines for the last wakes of an agent, newest first."""
    return "\n".join(map(_wake_lines, rows)) or f"{agent} was not woken in the last 30 days."


def wake_data(row: Row) -> dict[str, Any]:
    """Return one wake as data."""
    return {
        "at": stamp(row.at),
        "means": row.means,
        **{f"{kind}s": _named(row, kind) for kind in _KINDS},
        "ended_at": row.ended_at and stamp(row.ended_at),
        "outcome": row.outcome,
        "said": row.said,
        "exit_code": row.exit_code,
        "usd": row.usd,
        "read": row.led_to_read,
        "output": row.output,
    }


def _named(row: Row, kind: str) -> list[str]:
    """Return the tasks of which a wake told this: that one waits, its result, or answers on it."""
    keys = (key.split(" ") for key in row.keys)
    return sorted(key[2 if kind == "task" else 1] for key in keys if key[0] == kind)


def _wake_lines(row: Row) -> str:
    counts = {kind: len(_named(row, kind)) for kind in _KINDS}
    whys = [many(count, kind) for kind, count in counts.items() if count]
    what = {"nudge": "told in its session", "start": "started"}[row.means]
    came = "not " if row.outcome == "not_started" else ""
    parts = [f"{minute(stamp(row.at))}  {came}{what} for {', '.join(whys)}"]
    parts.append(row.said if row.ended_at else "under way")
    if row.led_to_read is not None:
        parts.append("something was read" if row.led_to_read else "IT STILL WAITS")
    if row.usd is not None:
        parts.append(f"{row.usd:.2f} USD")
    elif row.usd_unsaid is not None and row.ended_at:
        parts.append(f"what it cost is not told, counts as {row.usd_counted:.2f} USD")
    # What a host has printed may hold what a peer wrote.
    output = row.output.rstrip()
    if framing.part(output, 0, _OUTPUT_CHARS).next:
        parts.append(f"its last {_ENDING_CHARS} characters, --json has more")
        output = output[-_ENDING_CHARS:]
    shown = framing.frame(output, said_by=row.agent) if output else ""
    return "\n".join([" \u00b7 ".join(parts), *([shown] if shown else [])])


def _agent_line(agent: Mapping[str, Any]) -> str:
    host, sessions = agent["host"], agent["sessions"]
    parts = [
        f"{host}, wake profile {agent['profile']}" if host else "live sessions only",
        *lanes(agent),
        many(sessions, "live session"),
        _waiting(agent),
    ]
    if agent["waking"]:
        parts.append("a wake is under way")
    if agent["held"]:
        parts.append(f"HELD{_until(agent)}: {agent['held']}")
    if others := others_said(agent):
        parts.append(f"NOT ALL OF THIS VERSION: {others}")
    says = [f"IN PART ONLY: {agent['says']}"] if agent.get("says") else []
    return " \u00b7 ".join([*parts, *refusals(agent), *says])


def others_said(agent: Mapping[str, Any]) -> str:
    """Return of which other versions its live sessions are, or ""."""
    return ", ".join(each or "an earlier one" for each in agent.get("other_versions") or ())


def refusals(agent: Mapping[str, Any]) -> list[str]:
    """Return how many tasks were refused since the listener began, for an agent and of its own."""
    said = []
    for key, words in (("refused", "refused: "), ("refused_by", "refused by others: ")):
        if counts := agent.get(key):
            each = (f"{address_of(who)} {count}" for who, count in counts.items())
            said.append(words + ", ".join(each))
    return said


def lanes(agent: Mapping[str, Any]) -> list[str]:
    """Return what wakes it, unless that is high alone, which goes without saying."""
    wake_on = agent.get("wake_on") or WAKE_ON
    return [] if tuple(wake_on) == WAKE_ON else [f"woken for {' and '.join(wake_on)}"]


def _waiting(agent: Mapping[str, Any]) -> str:
    counts = agent["waiting"]
    if counts is None:
        return "waiting: not known"
    return f"waiting: {counts['high']} high, {counts['others']} other"


def _until(agent: Mapping[str, Any]) -> str:
    return f" until {minute(agent['until'])}" if agent["until"] else ""
