# SPDX-License-Identifier: Apache-2.0
"""What the commands that look back look for, print, and would go on from, text by text."""

import json
from dataclasses import replace
from datetime import timedelta

import busy
import pytest
from trails import FIRST, MINE, NOON, at, sent

from mcp_agentbus.archive import audit
from mcp_agentbus.archive.audit import Span, steps
from mcp_agentbus.archive.file import iso
from mcp_agentbus.archive.history import Wanted
from mcp_agentbus.archive.kept.sides import Sides
from mcp_agentbus.core import text
from mcp_agentbus.core.feather.printer import EXIT_CODE
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, BusUnreachable
from mcp_agentbus.tools import commands, history
from mcp_agentbus.tools.answers import past

# Lists.


@pytest.mark.parametrize(
    ("line", "wanted", "sides", "title"),
    [
        ("tasks", Wanted(), MINE, "of planner."),
        ("tasks --sent", Wanted(view="sent"), MINE, "sent by planner."),
        ("tasks two words", Wanted(words="two words"), MINE, 'of planner with "two words" in it.'),
        ("tasks --open --all", Wanted(view="open"), Sides(), "of your agents still open."),
        (
            f"tasks --with role:lead --state open --thread th --since {FIRST} --limit 5 --cursor past-7-9d0c2f1a",
            Wanted(other="role-lead", state="open", thread_id="th", since=NOON, limit=5,
                   cursor="past-7-9d0c2f1a"),
            MINE, "of planner.",
        ),
        (
            f"search two words --since {FIRST} --limit 5 --cursor past-7-9d0c2f1a",
            Wanted(words="two words", since=NOON, limit=5, cursor="past-7-9d0c2f1a"), Sides(),
            'of your agents with "two words" in it.',
        ),
    ],
)  # fmt: skip
async def test_what_was_typed_is_what_is_looked_for_and_said(shell, line, wanted, sides, title):
    code = await shell.typed(line)

    assert shell.looked_for == [(wanted, sides)]
    assert shell.done == ["streams", (shell.texts[0], {EXIT_CODE: code})]
    assert shell.texts[0].startswith(f"No task {title.removesuffix('.')}")
    assert code == 0


@pytest.mark.parametrize("line", ["tasks --all", "search Task", "audit", "export"])
async def test_how_long_ago_something_was_goes_by_the_servers_clock(shell, line):
    """This machine's was an hour ahead, by which nothing was as new."""
    shell.archive.ahead = -timedelta(hours=1)
    minutes = (text.now() - timedelta(minutes=65) - NOON) // timedelta(minutes=1)
    shell.note(sent(minutes))

    await shell.typed(f"{line} --since 10m")

    assert f"t{minutes:05d}" in "".join(shell.texts)


async def test_whoever_follows_an_inbox_begins_by_the_servers_clock_as_well(monkeypatch):
    async def now_about(_, here):
        return here - timedelta(hours=1)

    monkeypatch.setattr(commands, "now_about", now_about)

    begins = await commands._begins(None, "10m")

    ago = text.now() - begins.at
    assert timedelta(minutes=70) <= ago < timedelta(minutes=71)
    assert (await commands._begins(None, FIRST)).at == NOON


@pytest.mark.parametrize(
    ("given", "is_persons", "sides"),
    [(None, True, Sides()), (None, False, MINE), ("planner", True, MINE)],
)
async def test_a_person_who_is_no_agent_sees_the_tasks_of_all_of_theirs(
    shell, given, is_persons, sides
):
    shell.given, shell.is_persons = given, is_persons
    await shell.typed("tasks")

    assert shell.looked_for == [(Wanted(), sides)]


async def test_first_stands_what_lies_here_and_then_each_task_as_it_is_held(shell):
    shell.note(sent(1), sent(2))
    [entry, _] = steps(shell.archive, Sides(), Span())
    shell.here = (replace(entry.task, task_id="here", is_outgoing=True),)
    await shell.typed("tasks --json")
    listed = json.loads(shell.texts[0])["tasks"]

    assert [(each["task_id"], each["left"]) for each in listed] == [
        ("here", False), ("t00002", True), ("t00001", True),
    ]  # fmt: skip


async def test_without_a_bus_what_lies_here_is_told_of_and_nothing_else_is_made_up(shell):
    shell.note(sent(1))
    [entry] = steps(shell.archive, Sides(), Span())
    shell.away = BusUnreachable("No bus server answers. Nothing was stored.")
    with pytest.raises(BusUnreachable):
        await shell.typed("tasks")
    shell.here = (replace(entry.task, task_id="here", is_outgoing=True),)
    code = await shell.typed("tasks --json")

    told = json.loads(shell.texts[0])
    assert (code, shell.done[1][1]) == (3, {EXIT_CODE: 3})
    assert [each["task_id"] for each in told["tasks"]] == ["here"]
    assert told["notes"] == [
        "This is only what lies on this machine, as the bus is out of reach. No bus server answers."
    ]


# Trails.


def behind(number):
    return {"behind": (iso(at(number)), number)}


@pytest.mark.parametrize("line", ["tasks", "search Task", "audit --limit 1", "export"])
async def test_it_is_looked_back_while_all_of_the_loops_own_threads_are_at_work(shell, line):
    shell.note(sent(1), sent(2))
    with busy.own_threads():
        assert await shell.typed(line) == 0

    assert shell.texts


async def test_of_steps_the_last_are_printed_and_how_many_are_not(shell):
    shell.note(*map(sent, (1, 2, 3)))
    code = await shell.typed("audit --limit 2")
    lines = [past.step_line(each) for each in steps(shell.archive, Sides(), Span())]

    where = {"after": 0, "until": 3, "since": None}
    assert code == 0
    assert shell.done == [
        "streams",
        ("(1 earlier steps: --limit N shows more of them.)", {**where, **behind(1)}),
        (lines[1], {**where, **behind(2)}),
        (lines[2], {EXIT_CODE: 0}),
    ]


async def test_a_program_is_told_of_each_step_and_of_nothing_besides(shell):
    shell.note(*map(sent, (1, 2, 3)))
    shell.notes = ("It is old.",)
    await shell.typed(f"audit --limit 2 --json --since {at(1).isoformat()}")

    where = {"after": 0, "until": 3, "since": at(1).isoformat()}
    assert [json.loads(text)["step"] for text in shell.texts] == [2, 3]
    assert [changed for _, changed in shell.done[1:]] == [{**where, **behind(2)}, {EXIT_CODE: 0}]
    assert shell.said_aside == ["Note: It is old."]


@pytest.mark.parametrize(("line", "has_texts"), [("audit --json", False), ("export --json", True)])
async def test_the_texts_of_tasks_are_exported_and_not_audited(shell, line, has_texts):
    shell.note(sent(1))
    await shell.typed(line)

    step = json.loads(shell.texts[0])
    assert (step["task"].get("request") == "All of it.") is has_texts
    told = {*step, *step["task"]} & {
        "reason", "note", "subject", "summary", "artifacts", "request", "characters", "result",
    }  # fmt: skip
    assert len(told) == (8 if has_texts else 0)
    assert step["task"]["created_at"] == past.stamp(at(1))


@pytest.mark.parametrize(
    ("line", "resumed", "texts"),
    [
        ("audit", {}, ["No step of a task is known in this time."]),
        ("audit --json", {}, []),
        ("audit", {"after": 0, "until": 0, "behind": ["", 0]}, []),
        ("export", {}, []),
    ],
)
async def test_that_there_is_nothing_is_said_once_and_to_people(shell, line, resumed, texts):
    assert await shell.typed(line, **resumed) == 0
    assert shell.done == ["streams", *((text, {EXIT_CODE: 0}) for text in texts)]


async def test_a_name_that_is_no_text_is_none_of_an_export(shell):
    with pytest.raises(BadInput, match="The cursor has half a surrogate pair"):
        await shell.typed("export --cursor \udcff")

    assert shell.done == []


@pytest.mark.parametrize("line", ["audit", "export"])
async def test_whoever_goes_on_prints_what_comes_behind_and_nothing_newer(shell, line):
    shell.note(*map(sent, range(1, 6)))
    resumed = {"after": 1, "until": 4, "behind": list(behind(2)["behind"]), "since": None}
    await shell.typed(f"{line} --json", **resumed)

    assert [json.loads(text)["step"] for text in shell.texts] == [3, 4]


async def test_whoever_goes_on_with_what_is_followed_leaves_out_none_of_it(shell):
    """Of what comes later all is printed: `--limit` is of what was known at the beginning."""
    shell.note(*map(sent, range(1, 6)))
    resumed = {"after": 1, "until": 5, "behind": list(behind(2)["behind"]), "since": None}
    await shell.typed("audit --limit 1 --follow", **resumed)

    known = list(steps(shell.archive, Sides(), Span()))
    assert shell.texts == [past.step_line(each) for each in known[2:]]


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("audit --json", [1, 2, 3, 4, 5, 6]),
        ("audit --json --agent coder", [1, 2, 4, 5]),
        ("export --json --agent coder", [1, 2, 4, 5]),
        ("audit --json --agent stranger", []),
    ],
)
async def test_only_the_tasks_of_the_agent_that_was_named_are_printed(
    shell, monkeypatch, line, numbers
):
    async def look(_, agent):
        return Agent("coder", roles=("builders",)) if agent == "coder" else None

    monkeypatch.setattr(history.roster, "look", look)
    shell.note(sent(1), sent(2, "coder", "reviewer"), sent(3, "planner", "tester"))
    shell.note(sent(4, "tester", "coder"), sent(5, "tester", "role-builders"))
    shell.note(sent(6, "tester", "role-testers"))
    await shell.typed(line)

    assert [json.loads(text)["step"] for text in shell.texts] == numbers


@pytest.mark.parametrize("line", ["audit --limit 5", "export", "export --cursor diary --follow"])
async def test_a_page_is_printed_once_the_one_before_has_been_read(shell, monkeypatch, line):
    monkeypatch.setattr(audit, "_PAGE", 2)
    shell.note(*map(sent, range(1, 6)))
    await shell.typed(f"{line} --json")

    steps = [each if each == "reached" else json.loads(each[0])["step"] for each in shell.done[1:]]
    assert steps[:7] == [1, "reached", 2, 3, "reached", 4, 5]


async def test_a_named_export_goes_on_behind_what_has_been_read(shell):
    """What is noted is noted once its reader says that it has it."""
    shell.note(*map(sent, (1, 2)))
    note_cursor = shell.archive.note_cursor

    def noted(name, step):
        shell.done.append((name, step))
        note_cursor(name, step)

    shell.archive.note_cursor = noted
    await shell.typed("export --json --cursor diary")
    first = shell.done[1:]
    shell.note(sent(3))
    await shell.typed("export --json --cursor diary")
    second = shell.done[1:]

    where = {"until": 2, "since": None}
    assert [each[1] if isinstance(each, tuple) else each for each in first] == [
        {"after": 0, **where, **behind(1)},
        {"after": 2, **where, "behind": ("", 0)},
        "reached", 2,
    ]  # fmt: skip
    assert json.loads(second[0][0])["step"] == 3
    assert second[1:] == ["reached", ("diary", 3)]


async def test_what_is_exported_of_one_agent_is_not_left_out_of_the_rest(shell, monkeypatch):
    async def look(*_):
        return None

    monkeypatch.setattr(history.roster, "look", look)
    shell.note(sent(1), sent(2, "tester", "critic"))
    printed = []
    for whose in ("--agent tester", "--agent planner", "", "--agent tester"):
        await shell.typed(f"export --json --cursor diary {whose}")
        printed.append([json.loads(text)["step"] for text in shell.texts])

    assert printed == [[2], [1], [1, 2], []]


async def test_a_named_export_is_of_all_time(shell):
    with pytest.raises(BadInput, match="--cursor and --since") as refused:
        await shell.typed(f"export --cursor diary --since {at(1).isoformat()}")

    assert refused.value.hint.startswith("Leave --since out")
    assert shell.done == []


async def test_an_export_that_goes_on_does_not_begin_where_its_name_has_read_to(shell):
    """Its earlier process had noted nothing yet."""
    shell.note(*map(sent, (1, 2, 3)))
    shell.archive.note_cursor("diary", 3)
    await shell.typed(
        "export --json --cursor diary", after=0, until=3, behind=list(behind(1)["behind"])
    )

    assert [json.loads(text)["step"] for text in shell.texts] == [2, 3]


@pytest.mark.parametrize("line", ["audit", "export --cursor diary"])
async def test_whoever_follows_is_told_of_each_step_as_it_becomes_known(shell, line):
    shell.note(sent(1))
    shell.later = [sent(2), sent(3, "tester", "coder")]
    await shell.typed(f"{line} --json --follow")

    assert [json.loads(text)["step"] for text in shell.texts] == [1, 2, 3]
    assert [changed for _, changed in (x for x in shell.done if isinstance(x, tuple))] == [
        {"after": number, "until": number, "behind": ("", 0), "since": None}
        for number in (1, 2, 3)
    ]  # fmt: skip
    assert shell.news_of == [1]
    rows = shell.archive.rows("SELECT name, step FROM cursors WHERE name != ''")
    assert [tuple(row) for row in rows] == ([("diary", 3)] if "cursor" in line else [])
