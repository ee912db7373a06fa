# SPDX-License-Identifier: Apache-2.0
"""What `agentbus listen --status` shows of what a listener answers."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from local_server import settings_at
from planners_task import TASK

from mcp_agentbus.core.text import stamp
from mcp_agentbus.listener import status
from mcp_agentbus.store.outbox.outbox import Envelope
from mcp_agentbus.version import __version__
from mcp_agentbus.wakes.ledger import Row

FOUND = {
    "pid": 4711,
    "version": __version__,
    "since": "2026-11-21T10:00:00+00:00",
    "bus": "ok",
    "away_since": None,
    "ledger": "ok",
    "config": "ok",
    "relayed": 0,
    "agents": [],
}
AGENT = {
    "agent": "coder",
    "host": "command",
    "profile": "work",
    "sessions": 1,
    "waking": False,
    "held": "",
    "until": None,
    "waiting": {"high": 0, "others": 2, "results": 0, "answers": 0},
}


AT = datetime(2026, 11, 21, 10, tzinfo=UTC)
WOKEN = Row(
    1, "coder", "start", frozenset({"task coder t1"}), frozenset(), AT, False, None, "", AT,
    "exited", "exit code 0 after 1 s", 0, "", None, False, None, False, False,
)  # fmt: skip


def shown(**changed):
    return status.text({**FOUND, "state": "runs", "elsewhere": "", **changed})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, f"listener runs: {__version__}, pid 4711, since 2026-11-2"),
        ({}, "agentbus agent add ID"),
        ({"relayed": 3}, "serves 3 of the live sessions"),
        ({"version": "0.0.9"}, f"{__version__} that is installed: sessions serve themselves"),
        ({"away_since": "2026-11-21T10:00:00+00:00"}, "nobody is woken"),
        ({"ledger": "The disk is full."}, "HOLDS EVERY WAKE: The disk is full."),
        ({"archive": "The disk is full."}, "KEEPS NO HISTORY: The disk is full."),
        ({"config": "No TOML."}, "GOES ON WITH THE RULES OF BEFORE: No TOML."),
    ],
)
def test_what_a_person_must_know_stands_in_a_line_of_its_own(changed, said):
    assert said in shown(**changed)


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "runs"),
        ({"bus": "away", "ledger": "The disk is full."}, "away"),
        ({"ledger": "The disk is full."}, "degraded"),
        ({"human": "No program."}, "degraded"),
        ({"failures": ["desk of coder"]}, "degraded"),
        ({"version": "0.0.9"}, "degraded"),
        ({"bus_at": "tls://elsewhere", "bus": "away"}, "foreign"),
    ],
)
def test_how_it_stands_has_one_word(tmp_path, changed, state):
    seen = status.seen_from(settings_at(tmp_path), {**FOUND, **changed})

    assert seen["state"] == state
    assert status.text({**seen, **changed}).startswith(f"listener {state}: ")


def test_agents_of_a_self_test_that_are_no_more_are_not_shown(tmp_path):
    gone = {"agent": "doctor-b", "sessions": 0, "host": None}
    own = {"agent": "doctor-portal", "sessions": 0}  # a folder's, with rules
    agents = [AGENT, *(AGENT | each for each in ({"agent": "doctor-a"}, gone, own))]

    seen = status.seen_from(settings_at(tmp_path), {**FOUND, "agents": agents})

    assert [each["agent"] for each in seen["agents"]] == ["coder", "doctor-a", "doctor-portal"]


def test_an_installed_version_that_is_the_listeners_own_is_not_mentioned():
    assert "installed" not in shown()


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "coder  command, wake profile work · 1 live session · waiting: 0 high, 2 other"),
        (
            {"host": None, "sessions": 2, "waking": True},
            (
                "coder  live sessions only · 2 live sessions · waiting: 0 high, 2 other"
                " · a wake is under way"
            ),
        ),
        (
            {"waiting": None, "held": "its user's quiet hours"},
            (
                "coder  command, wake profile work · 1 live session · waiting: not known"
                " · HELD: its user's quiet hours"
            ),
        ),
        (
            {"other_versions": ["", "0.0.9"]},
            (
                "coder  command, wake profile work · 1 live session · waiting: 0 high, 2 other"
                " · NOT ALL OF THIS VERSION: an earlier one, 0.0.9"
            ),
        ),
        (
            {"refused": {"mallory": 3, "eve": 1}, "refused_by": {"role-a": 2}},
            (
                "coder  command, wake profile work · 1 live session · waiting: 0 high, 2 other"
                " · refused: mallory 3, eve 1 · refused by others: role:a 2"
            ),
        ),
    ],
)
def test_an_agent_stands_on_one_line(changed, line):
    assert shown(agents=[AGENT | changed]).splitlines()[-1] == line


def test_agents_of_different_names_stand_in_columns():
    lines = shown(agents=[AGENT, AGENT | {"agent": "a-long-name"}]).splitlines()[1:]

    assert lines[0].index("command") == lines[1].index("command")


@pytest.mark.parametrize(
    ("means", "outcome", "told"),
    [
        ("start", "exited", "  started for 1 task \u00b7 so it ended"),
        ("start", "not_started", "  not started for 1 task \u00b7 so it ended"),
        ("nudge", "asked", "  told in its session for 1 task \u00b7 so it ended"),
        ("nudge", "not_started", "  not told in its session for 1 task \u00b7 so it ended"),
    ],
)
def test_a_wake_that_did_not_come_about_is_not_told_as_one_that_did(means, outcome, told):
    at = datetime(2026, 11, 21, tzinfo=UTC)
    wake = Row(
        1, "coder", means, frozenset({"task coder 9d"}), frozenset({"planner"}), at,
        live_only=False, pid=None, born="", ended_at=at, outcome=outcome, said="so it ended",
        exit_code=None, output="", usd=None, interrupted=False, led_to_read=None, cleared=False,
        end_written=True,
    )  # fmt: skip

    assert status.wakes_text("coder", [wake]).endswith(told)


def test_looking_at_a_listener_loads_no_library(tmp_path):
    """A person waits for it, and it need only ask and print."""
    code = (
        "import sys\n"
        "from mcp_agentbus.cli.main import main\n"
        "from mcp_agentbus.relay import local_socket\n"
        f"local_socket.ask = lambda *_: {FOUND | {'agents': [AGENT]}}\n"
        "code = main(['listen', '--status'])\n"
        "heavy = {'asyncio', 'nats', 'pydantic', 'mcp', 'anyio', 'sqlite3', 'rich', 'tomlkit'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )

    out = subprocess.run(
        [sys.executable, "-c", code], env={"HOME": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    assert out.stdout.splitlines()[-2].startswith("coder  command")
    assert out.stdout.splitlines()[-1] == "0 []"


def test_what_was_withdrawn_is_not_counted_among_what_waits_for_its_bus():
    before = Envelope(TASK, 1, AT - timedelta(hours=1), is_ours=True, is_over=True)
    kept = [before, Envelope(TASK, 2, AT, is_ours=True)]

    data = status.outbox_data(kept, {})
    assert (data["waiting"], data["since"]) == (1, stamp(AT))
    assert status.outbox_data(kept[:1], {}) == {"waiting": 0, "since": None, "says": ""}
    assert status.outbox_data(None, {})["waiting"] is None


@pytest.mark.parametrize(
    ("outbox", "line"),
    [
        ({"waiting": 0, "since": None, "says": ""}, ""),
        ({"waiting": None, "since": None, "says": "x."}, "OUTBOX: it was not read yet. x."),
        (
            {"waiting": 2, "since": "2026-11-21T10:00:00+00:00", "says": ""},
            "OUTBOX: 2 tasks stored here, not yet at the bus, since",
        ),
    ],
)
def test_what_waits_for_its_bus_has_a_line(outbox, line):
    told = [each for each in shown(outbox=outbox).splitlines() if each.startswith("OUTBOX")]

    assert [each[: len(line)] for each in told] == ([line] if line else [])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, " · what it cost is not told, counts as 0.50 USD"),
        ({"usd": 0.0}, " · 0.00 USD"),
        ({"ended_at": None}, "under way"),
        ({"usd_unsaid": None}, "after 1 s"),
    ],
)
def test_a_start_that_did_not_say_what_it_cost_is_told_with_what_it_counts_for(fields, said):
    row = replace(WOKEN, **{"usd_unsaid": 0.5, **fields})

    assert status.wakes_text("coder", [row]).endswith(said)


@pytest.mark.parametrize(
    ("keys", "read", "said"),
    [
        ({"task coder t1"}, None, "1 task · exit code 0 after 1 s"),
        ({"result t1 7"}, True, "1 result · exit code 0 after 1 s · something was read"),
        (
            {"task coder t1", "task coder t2", "result t3 7", "answer t4 a1:2"},
            False,
            "2 tasks, 1 result, 1 answer · exit code 0 after 1 s · IT STILL WAITS",
        ),
    ],
)
def test_of_a_wake_it_is_told_what_it_was_for_and_whether_that_still_waits(keys, read, said):
    """A run that reads a task and gives it back, as at its end, has left it as it was."""
    row = replace(WOKEN, keys=frozenset(keys), led_to_read=read)
    data = status.wake_data(row)

    assert status.wakes_text("coder", [row]).split("  started for ")[1] == said
    named = (*data["tasks"], *data["results"], *data["answers"])
    assert named == tuple(f"t{number}" for number in range(1, len(keys) + 1))
