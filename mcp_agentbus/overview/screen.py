# SPDX-License-Identifier: Apache-2.0
"""What goes on, as one screen: most important first, and of each part as much as there is room for.

    >>> print(screen(situation, columns=80, rows=24))
    agentbus 0.1.0 · server runs · listener since 10:00
    AGENTS: 1, 1 with an open session
      coder    session open   at 9d0c2f1a, 12 min · 3 normal wait

Pure. Ids, states, numbers, times and this program's own sentences stand outside of a frame; what
tasks are about and ask stands in one at the end, by their ids.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mcp_agentbus.archive.past import Past
from mcp_agentbus.core import text
from mcp_agentbus.core.framing import INDENT, frame, one_line
from mcp_agentbus.core.ids import address_of
from mcp_agentbus.listener import status
from mcp_agentbus.overview.situation import AgentAtWork, Ended, Need, Situation, Waits
from mcp_agentbus.tools.answers.past import short
from mcp_agentbus.tools.answers.words import HERE, ago, clock, counts, line
from mcp_agentbus.version import __version__

# Where nobody looks, so that a pipe gets a whole answer that is not endless.
_ROWS: Final = 60
_ROWS_MIN: Final = 12
# Below this what waits and what is over is told without what it is about: more of it has room.
_ROWS_ROOMY: Final = 30
# An id of another producer's may be long; its beginning names it as well.
_ID_CHARS: Final = 12
# Names stand in a column that is as wide as the widest, but not wider than this.
_NAME_CHARS: Final = 22
_SUBJECT_CHARS: Final = 120
_STATES: Final = {"live session": "session open", "not known": "session unknown"}
# How a terminal shows titles, as ECMA-48 has it.
_BOLD, _URGENT, _PLAIN = "\x1b[1m", "\x1b[1;31m", "\x1b[0m"
_HOW: Final = "Why is one not done: agentbus why ID    All of one: agentbus task ID"


@dataclass(frozen=True)
class _Item:
    """A line of a part, or several that belong together."""

    lines: tuple[str, ...]
    task: Past | None = None

    def height(self, told: Collection[str]) -> int:
        """Return how many lines it takes, with what its task is about if that is not told yet."""
        return len(self.lines) + (self.task is not None and _id(self.task) not in told)


@dataclass(frozen=True)
class _Part:
    """One part of the screen."""

    title: str
    items: Sequence[_Item]
    #: What shows all of it.
    whole: str
    #: There is more than these items.
    goes_on: bool = False
    #: So many of them come before a second one of another part.
    first: int = 1
    style: str = _BOLD

    def is_cut(self, shown: int) -> bool:
        """Tell whether there is more than so many items."""
        return shown < len(self.items) or self.goes_on

    def titled(self, columns: int, *, is_cut: bool) -> list[str]:
        """Return the lines of its title, which says where all is if not all is shown."""
        return _folded([self.title + f" \u00b7 all: {self.whole}" * is_cut], columns)


def screen(now: Situation, *, columns: int = 0, rows: int = 0, styled: bool = False) -> str:
    """Return what goes on.

    Args:
        now: what that is.
        columns: no line is wider than so many cells; 0 for any.
        rows: so many lines are seen at once; 0 for a pipe. Each part has a line at least.
        styled: titles are shown as such.
    """
    head = _folded(_head(now), columns)
    foot = _folded(_foot(now), columns)
    parts = [part for part in _parts(now, columns) if part.items]
    has_tasks = any(item.task for each in parts for item in each.items)
    how = _folded([_HOW], columns) if has_tasks else []
    around = len(head) + len(foot) + (2 + len(how) if how else 0)
    titles = sum(len(part.titled(columns, is_cut=True)) for part in parts)
    room = max(rows or _ROWS, _ROWS_MIN) - 1 - around - titles
    shares = _shares(parts, room)
    if 0 < rows < _ROWS_ROOMY and any(map(_Part.is_cut, parts, shares)):
        parts = [part for part in _parts(now, columns, is_small=True) if part.items]
        shares = _shares(parts, room)
    blocks, tasks = [head], dict[str, Past]()
    for part, count in zip(parts, shares, strict=True):
        shown = part.items[:count]
        title = part.titled(columns, is_cut=part.is_cut(count))
        if styled:
            title = [f"{part.style}{each}{_PLAIN}" for each in title]
        blocks.append([*title, *(each for item in shown for each in item.lines)])
        for task in filter(None, (item.task for item in shown)):
            tasks.setdefault(_id(task), task)
    blocks.append(foot)
    if tasks:
        said = (_said(name, task, columns) for name, task in tasks.items())
        about = frame("\n".join(said), said_by="").split("\n")
        blocks.append([*about, *how])
    else:
        blocks.append(how)
    blocks = [block for block in blocks if block]
    # A line between parts, where that leaves all of them on the screen.
    is_wide = sum(map(len, blocks)) + len(blocks) <= rows
    return ("\n\n" if is_wide else "\n").join("\n".join(block) for block in blocks)


def _shares(parts: Sequence[_Part], room: int) -> list[int]:
    """Return how many items of each part are shown: one each, the first, then turn by turn."""
    shares, told = [0 for _ in parts], set[str]()
    every = list(range(len(parts)))
    of_all = max((len(part.items) for part in parts), default=0)
    turns = [place for place, part in enumerate(parts) for _ in range(part.first - 1)]
    for place in [*every, *turns, *every * of_all]:
        items = parts[place].items
        if shares[place] == len(items):
            continue
        item = items[shares[place]]
        if (height := item.height(told)) <= room or not shares[place]:
            room -= height
            shares[place] += 1
            told |= {_id(item.task)} if item.task else set()
    return shares


def _head(now: Situation) -> list[str]:
    """Return how things stand: server, listener, agents."""
    state = now.listener.state
    listener = f"listener {state if state in {'runs', 'stopped'} else state.upper()}"
    if state == "runs":
        since = datetime.fromisoformat(now.listener.answer["since"])
        listener += f" since {clock(since, now.now)}"
    away = "server OUT OF REACH" if now.is_out_of_reach else "no server"
    server = "server runs" if now.server else away
    lines = [line((f"agentbus {__version__}", server, listener))]
    if not now.server:
        known = "" if now.is_unread else "From the archive, as it was last known. "
        lines.append(f"{known}{now.away_says}")
    if now.listener.state == "stopped" and not any(need.kind == "held" for need in now.needs):
        lines.append("Nobody is woken without a listener: agentbus listen (--install keeps it)")
    if now.outgoing.waits:
        first = clock(now.outgoing.waits[0].since, now.now)
        lines.append(f"{text.many(len(now.outgoing.waits), 'task')} {HERE}, since {first}.")
    return [*lines, *(says for says in now.outgoing.all_says if says != now.away_says)]


def _foot(now: Situation) -> list[str]:
    """Return what wakes cost, and how far was looked."""
    lines = []
    if now.wakes and now.wakes.count:
        usd = f", {now.wakes.usd:.2f} USD" if now.wakes.usd else ""
        lines.append(
            f"Wakes today: {now.wakes.count}, {now.wakes.read} of them led to a read{usd}."
        )
    if now.is_empty:
        lines.append(_next(now))
    lines += now.notes
    if not now.extent.is_whole:
        unread = f", {text.many(now.unread, 'unfinished task')} among it," if now.unread else ""
        lines.append(f"What is older{unread} is read bit by bit: look again.")
    return lines


def _next(now: Situation) -> str:
    """Return what to type on a bus where nothing was sent yet."""
    if now.is_unread:
        return "Which tasks there were is not known:"
    if now.is_out_of_reach:
        return "Nothing is known of any task here; more is once the server answers."
    if not now.server:
        return "Nothing is known of any task. Connect your hosts: agentbus setup"
    if not now.agents:
        return "No agent is known yet. Connect your hosts: agentbus setup"
    to = now.agents[0].id
    return f'No task was sent yet. Try: agentbus send {to} "SUBJECT" "WHAT TO DO"'


def _parts(now: Situation, columns: int, *, is_small: bool = False) -> list[_Part]:
    agents = _table([_agent_row(agent, now) for agent in now.agents], columns, in_one=is_small)
    above = {(need.about, need.what) for need in now.needs if is_small}
    # Where not all has room, whoever waits for a person's word stands before what wakes nobody.
    needs = sorted(now.needs, key=_first) if is_small else now.needs
    waits = _table([_waits_row(some, now, above) for some in now.waits], columns)
    ended = _table([_ended_row(each, now) for each in now.ended], columns)
    open_ = sum(agent.state == "live session" for agent in now.agents)
    more = now.waiting > sum(some.count for some in now.waits)
    return [
        _Part(
            f"NEEDS YOU: {len(now.needs) + now.more_needs:,}",
            [_need(need, now, columns, is_small=is_small) for need in needs],
            "agentbus tasks --all --open" if now.more_needs else "agentbus status | less",
            goes_on=now.more_needs > 0,
            first=4,
            style=_URGENT,
        ),
        _Part(
            f"AGENTS: {len(now.agents)}, {open_} with an open session",
            _items(agents, now.agents),
            "agentbus agents",
            goes_on=any(lines[-1].endswith("\u2026") for lines in agents),
            first=3,
        ),
        _Part(
            f"WAITING: {text.many(now.waiting, 'task')}",
            _items(waits, now.waits, is_told=not is_small),
            "agentbus tasks --all --open",
            goes_on=more,
        ),
        _Part(
            "OVER",
            _items(ended, now.ended, is_told=not is_small),
            "agentbus tasks --all",
            goes_on=now.more_ended,
        ),
    ]


def _first(need: Need) -> int:
    return ("broken", "asks").index(need.kind) if need.kind in {"broken", "asks"} else 2


def _items(
    rows: Iterable[tuple[str, ...]],
    of: Iterable[AgentAtWork | Waits | Ended],
    *,
    is_told: bool = True,
) -> list[_Item]:
    """Return the items of a part; `is_told`: with what their tasks are about."""
    return [
        _Item(lines, _task_of(each) if is_told else None)
        for lines, each in zip(rows, of, strict=True)
    ]


def _task_of(each: AgentAtWork | Waits | Ended) -> Past | None:
    if isinstance(each, AgentAtWork):
        return each.held[0][0] if each.held else None
    return each.oldest if isinstance(each, Waits) else each.task


def _need(need: Need, now: Situation, columns: int, *, is_small: bool) -> _Item:
    who = _id(need.task) if need.task else need.about
    since = f", {_lasting(need.since, now)}" if need.since else ""
    is_high = need.kind == "asks" and need.task and need.task.priority == "high"
    since += ", high" if is_high else ""
    what = f"  {f'{who}  ' if who else ''}{need.what}{since}"
    lines = [what, f"      {need.todo}"]
    if is_small and need.command:
        in_one = f"{what}: {need.command}"
        is_wide = columns and len(in_one) > columns
        lines = [what, f"      {need.command}"] if is_wide else [in_one]
    return _Item(tuple(_folded(lines, columns)), need.task)


def _agent_row(agent: AgentAtWork, now: Situation) -> tuple[str, ...]:
    seen = f"seen {ago(agent.last_seen, now.now)}" if agent.last_seen else "never seen"
    facts = []
    at = len(agent.held) - agent.asks
    if at:
        task, since = agent.held[0]
        done = f" {task.progress:g}%" if task.progress is not None else ""
        facts.append(f"at {_id(task)}{done}, {_lasting(since, now)}")
        if at > 1:
            facts.append(f"and {at - 1} more")
    if agent.asks:
        facts.append(text.many(agent.asks, "question"))
    if agent.is_waking:
        facts.append("a wake is under way")
    if agent.waiting:
        facts.append(f"{counts(agent.waiting)} wait")
    facts += status.refusals(agent.refused)
    return agent.id, _STATES.get(agent.state, seen), line(facts)


def _waits_row(some: Waits, now: Situation, above: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """Return the cells of what waits; `above`: of whom, and what, there is a line already."""
    number, brief = f"{some.count} {some.priority}", some.why.brief
    brief = "held, as above" if (some.inbox, f"wake {brief}") in above else brief
    if some.oldest is None:
        return address_of(some.inbox), number, brief
    which = _id(some.oldest)
    which = f"{which}, {_lasting(some.oldest.created_at, now)}"
    return address_of(some.inbox), number, which, brief


def _ended_row(each: Ended, now: Situation) -> tuple[str, ...]:
    task = each.task
    between = f"{task.sender} to {address_of(task.inbox)}"
    facts = [between, each.why.brief]
    if task.asked_by:
        facts.append(f"its result sent to {task.owner} as well, as its worker says")
    elif not task.is_asked:
        facts.append("UNASKED")
    return _id(task), task.state, ago(each.at, now.now), line(facts)


def _table(
    rows: Sequence[tuple[str, ...]], columns: int, *, in_one: bool = False
) -> list[tuple[str, ...]]:
    """Return the lines of each row: cells under each other but for the last.

    What is wider than the screen is folded or, `in_one`, ends in an ellipsis.
    """
    widths: dict[int, int] = {}
    for row in rows:
        for place, cell in enumerate(row[:-1]):
            widths[place] = max(widths.get(place, 0), min(len(cell), _NAME_CHARS))
    lines = (
        "  ".join(
            cell.ljust(widths[place]) if place < len(row) - 1 else cell
            for place, cell in enumerate(row)
        )
        for row in rows
    )
    wide = columns if in_one else 0
    shown = (f"  {each}".rstrip() for each in lines)
    return [tuple(_folded([text.cut(each, wide) if wide else each], columns)) for each in shown]


def _folded(lines: Iterable[str], columns: int) -> list[str]:
    return [
        part
        for each in lines
        for part in text.folded(each, columns, f"{_indent(each)}  ").split("\n")
    ]


def _indent(each: str) -> str:
    return each[: len(each) - len(each.lstrip(" "))]


def _said(name: str, task: Past, columns: int) -> str:
    """Return what a task is about, and what its worker asks, on one line of the screen."""
    is_asking = task.question is not None and task.question.is_open
    asked = task.summary or task.result if is_asking else ""
    asks = f" asks: {one_line(asked, _SUBJECT_CHARS)} |" if asked else ":"
    said = f"{name}{asks} {one_line(task.subject, _SUBJECT_CHARS)}"
    return text.cut(said, columns - len(INDENT)) if columns else said


def _id(task: Past) -> str:
    """Return what names a task here: it is enough of its id for every command."""
    return short(task.task_id)[:_ID_CHARS]


def _lasting(since: datetime, now: Situation) -> str:
    return ago(since, now.now).removesuffix(" ago")
