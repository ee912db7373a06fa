# SPDX-License-Identifier: Apache-2.0
"""Tasks, agents and situations for tests of what is told of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mcp_agentbus.archive.past import Past
from mcp_agentbus.overview.situation import AgentAtWork, Ended, Need, Situation, Waits
from mcp_agentbus.overview.why import Case, Why, why
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.wakes.today import WakesToday

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ID = "9d0c2f1a" + 24 * "0"


def before(**length):
    return NOW - timedelta(**length)


def past(**changed):
    """Return a task of normal priority that planner sent coder two hours ago."""
    task = Past(
        n=1, task_id=ID, owner="planner", inbox="coder", state="stored", agent="", session="",
        subject="Count the tests", thread_id="t", priority="normal", task_type="default",
        in_reply_to=None, created_at=before(hours=2), updated_at=before(hours=2),
        expires_at=NOW + timedelta(days=6), deliver_at=None, seen_at=None, request="",
        request_chars=0, summary="", result="", artifacts=(), progress=None, reason="", late=False,
        attempts=0, is_asked=True, expect="answer", asked_by="",
    )  # fmt: skip
    return replace(task, **changed)


def entry(state="offline", days=3, **more):
    return Entry("coder", state, before(days=days) if days else None, **more)


def case(*, of=None, **changed):
    """Return the case of that task; coder was there three days ago, and a listener runs."""
    known = {"addressee": entry(), "listener": "runs"} | changed
    return Case(task=past(**(of or {})), now=NOW, **known)


def asks(state="needs_input", at=None, **replied):
    """Return what coder asked, an hour ago unless it is said otherwise."""
    return Question(state, "coder", at or before(hours=1), **replied)


def number(count):
    """Return a task of its own, by that number."""
    return past(
        task_id=f"{count:08x}" + 24 * "0", n=count, subject=f"Count the tests of part {count}"
    )


def situation(agents=3, tasks=30):
    """Return what goes on with so many agents, and so many tasks that wait and that are over."""
    names = ["coder", "planner", "reviewer", *(f"agent-{n}" for n in range(3, agents))][:agents]
    standings = [AgentAtWork(name, "offline", before(days=n)) for n, name in enumerate(names)]
    waits, ended, needs = [], [], []
    if agents and tasks:
        at = replace(number(1), state="working", agent="coder", progress=40.0)
        standings[0] = AgentAtWork("coder", "live session", NOW, ((at, before(minutes=12)),))
        standings[1] = AgentAtWork("planner", "live session", NOW, (), {"normal": 3})
        for n in range(min(tasks // 3, 30)):
            task = number(n + 2)
            waits.append(Waits("coder", "normal", 1, task, why(case())))
        for n in range(min(tasks // 3, 10)):
            task = replace(number(n + 60), state="completed", agent="coder")
            ended.append(Ended(task, before(minutes=5), Why("not seen yet", "", "")))
        asks = replace(number(99), state="needs_approval", agent="coder")
        needs.append(Need("asks", asks.task_id, "coder waits for an approval",
                          "What it asks: `agentbus task 00000063`.", asks, before(minutes=3),
                          "agentbus approve 00000063"))  # fmt: skip
        needs.append(
            Need(
                "parked",
                "reviewer",
                "2 tasks set aside",
                "`agentbus parked`",
                command="agentbus parked --agent reviewer",
            )
        )
    return Situation(
        now=NOW, server="nats://127.0.0.1:4222", away_says="", agents=tuple(standings),
        needs=tuple(needs), waits=tuple(waits), waiting=len(waits), ended=tuple(ended),
        wakes=WakesToday(5, 3, 0.42), listener=_listener(),
    )  # fmt: skip


def _listener():
    from mcp_agentbus.overview.listener import Listener

    return Listener("runs", "", {"since": before(hours=2).isoformat(), "agents": []})
