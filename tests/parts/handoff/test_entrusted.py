# SPDX-License-Identifier: Apache-2.0
"""What sessions have left to their agent's shell, by its signs and the records."""

import os
import time
from datetime import timedelta

import pytest
from local_server import settings_at
from messages import SENT_SUBJECT, TASK, read_sent
from server_stand_in import NOON, Server
from strategies import spelt

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import shells
from mcp_agentbus.handoff.intake.answer import Inbox
from mcp_agentbus.handoff.reports import entrusted
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import codec
from mcp_agentbus.store.records import record_key
from mcp_agentbus.store.subjects import RESULTS, TASKS
from mcp_agentbus.store.task import EXPIRES_MAX_S, Moment, Record

NOTHING = Inbox()


class Bus(Server):
    """Has the records of some tasks, and knows how often one was asked for."""

    def __init__(self, home):
        super().__init__()
        self.settings, self.read = settings_at(home), 0

    def put(self, record):
        key = record_key(record.owner, record.inbox, record.task_id)
        self.messages = [Found(key.subject, len(self.messages) + 7, NOON, {}, key.encode(record))]

    async def last(self, stream, subject):
        self.read += 1
        return await super().last(stream, subject)


@pytest.fixture
def coder(tmp_path):
    return Session(Bus(tmp_path), Agent("coder"))


def record(coder, state="working", **said):
    """Return the record of a task that the shell's session of an agent holds."""
    held = {
        "task_id": TASK["id"], "owner": "planner", "inbox": "coder", "state": state,
        "agent": "coder", "subject": "Count", "thread_id": "t1", "updated_at": NOON,
        "session": shells.session_id("coder", coder.bus.settings.state_dir),
        "history": (Moment(state=state, at=NOON, by="coder"),),
    }  # fmt: skip
    return Record(**{**held, **said})


def folder(coder):
    return coder.bus.settings.state_dir / "entrusted" / "coder"


def signs(coder):
    there = folder(coder)
    return sorted(sign.name for sign in there.iterdir()) if there.exists() else []


async def shown(coder, **how):
    return await entrusted.with_answers(coder, None, NOTHING, lines=True, **how)


async def test_a_task_is_read_by_its_number_and_once(coder):
    entrusted.note(coder, record(coder))
    coder.bus.put(record(coder))
    sent = codec.encode_sent(read_sent(seq=9))
    coder.bus.messages += [
        Found(SENT_SUBJECT, 8, NOON, {}, sent), *(
            Found("agentbus.coder.tasks.normal.planner", seq, NOON, {}, spelt({**TASK, "id": name}))
            for seq, name in ((9, TASK["id"]), (10, "t2"))
        ),
    ]  # fmt: skip

    [item] = (await shown(coder)).tasks
    asked, coder.bus.asked = [each[0] for each in coder.bus.asked], []
    again = (await shown(coder)).tasks

    assert (item.task.id, item.state, item.task.body) == (TASK["id"], "working", "Review it.")
    assert (again, asked) == ((item,), [RESULTS, RESULTS, TASKS])
    assert [each[0] for each in coder.bus.asked] == [RESULTS]


async def test_where_nothing_was_left_nothing_is_asked(coder):
    assert (await shown(coder), coder.bus.read) == (NOTHING, 0)


@pytest.mark.parametrize(
    "odd", [{"task_id": "../x"}, {"owner": "a/b"}, {"inbox": "role-"}], ids=["task", "owner", "in"]
)
def test_what_others_have_named_is_no_path(coder, odd):
    entrusted.note(coder, record(coder, **odd))

    assert signs(coder) == []


@pytest.mark.parametrize(
    "later", [{"state": "completed"}, {"state": "stored", "session": ""}, {"session": "s2"}]
)
async def test_the_sign_of_what_the_shell_holds_no_more_is_taken_away(coder, later):
    entrusted.note(coder, record(coder))
    assert signs(coder) == [f"planner.coder.{TASK['id']}"]
    coder.bus.put(record(coder, **later))

    assert ((await shown(coder)).tasks, signs(coder)) == ((), [])


async def test_the_sign_of_what_another_bus_has_stays(coder):
    entrusted.note(coder, record(coder))

    assert ((await shown(coder)).tasks, len(signs(coder))) == ((), 1)


@pytest.mark.parametrize("odd", [".DS_Store", ".nfs0000000000a1b2", "a.b.c.d", "a.role-.t1"])
async def test_a_file_that_is_no_sign_keeps_nobody_from_reading(coder, odd):
    entrusted.note(coder, record(coder))
    (folder(coder) / odd).touch()

    assert ((await shown(coder)).tasks, coder.bus.read) == ((), 1)
    assert len(signs(coder)) == 2


async def test_a_sign_that_no_task_can_need_any_more_makes_room(coder):
    entrusted.note(coder, record(coder, task_id="old"))
    [sign] = folder(coder).iterdir()
    then = NOON - timedelta(seconds=EXPIRES_MAX_S + 1)
    os.utime(sign, (then.timestamp(), then.timestamp()))

    entrusted.note(coder, record(coder))

    assert signs(coder) == [f"planner.coder.{TASK['id']}"]


async def test_those_reported_on_last_are_looked_at_and_a_cut_is_said(coder):
    for number in range(22):
        entrusted.note(coder, record(coder, task_id=f"a{number}"))
        at = time.time() - number - 2
        os.utime(folder(coder) / f"planner.coder.a{number}", (at, at))
    entrusted.note(coder, record(coder))
    coder.bus.put(record(coder, state="completed"))

    [said] = (await shown(coder)).notes
    waits = await entrusted.with_answers(coder, None, NOTHING)

    assert f"planner.coder.{TASK['id']}" not in signs(coder)
    assert said.startswith("Up to 3 more may be left to this agent's shell")
    assert (waits.notes, len(signs(coder))) == ((), 22)


@pytest.mark.parametrize(("ahead_s", "left"), [(0, 1), (-60, 2)])
async def test_a_reader_takes_away_what_is_over_by_the_servers_clock_too(coder, ahead_s, left):
    entrusted.note(coder, record(coder))
    entrusted.note(coder, record(coder, task_id="old"))
    then = time.time() - EXPIRES_MAX_S - 30
    os.utime(folder(coder) / "planner.coder.old", (then, then))
    coder.bus.infos[TASKS] = {"ts": text.stamp(text.now() + timedelta(seconds=ahead_s))}

    await shown(coder)

    assert len(signs(coder)) == left


async def test_a_place_where_no_sign_can_be_keeps_nobody_from_reporting(coder):
    coder.bus.settings.state_dir.mkdir(parents=True)
    (coder.bus.settings.state_dir / "entrusted").write_text("no folder")

    entrusted.note(coder, record(coder))

    assert await shown(coder) == NOTHING


@pytest.mark.parametrize("which", [{"leased": True}, {"only": "t1"}])
async def test_a_shell_and_whoever_has_one_task_are_shown_none_of_it(coder, which):
    entrusted.note(coder, record(coder))
    coder.bus.put(record(coder))
    other = Session(coder.bus, Agent("coder"), **which)

    assert (await shown(other), coder.bus.read) == (NOTHING, 0)
