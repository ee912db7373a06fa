# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on a bus and stays so: each is found by doctor, mended by --fix, and gone then.

Each row breaks one thing. `--dry-run` says what would be done and does nothing of it; after `--fix`
there is nothing left to mend.
"""

import asyncio
import json
import subprocess
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from unittest import mock

import pytest
from doctors import printed
from made_cluster import until

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import names
from mcp_agentbus.core import processes, text
from mcp_agentbus.core.ids import PROBE, Agent
from mcp_agentbus.doctor.stored import claims, orphans, registrations
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.store import records, roster, steps, streams, subjects
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.subjects import RESULTS, TASKS

_LONG_AGO = timedelta(hours=2)


class Broken:
    """A bus with a planner and a coder on it, and a folder for what else there is."""

    def __init__(self, bus, planner, coder, folder):
        self.bus, self.planner, self.coder, self.folder = bus, planner, coder, folder

    async def sent(self, subject="Count", **how):
        """Send a task to coder; return it as its sender keeps it."""
        [receipt] = await send_task(self.planner, "coder", subject, "x", **how)
        await self.planner.outcomes.sent_records.settled()
        return (await records.read_sent(self.bus, "planner", "coder", receipt.task_id))[0]

    async def change(self, stream, **changed):
        config = (await self.bus.api(f"STREAM.INFO.{stream}"))["config"]
        await self.bus.api(f"STREAM.UPDATE.{stream}", {**config, **changed})

    async def purge(self, stream, subject):
        await self.bus.api(f"STREAM.PURGE.{stream}", {"filter": subject})

    async def consumer(self, consumer, **changed):
        """Have another consumer in the place of one."""
        where = f"{consumer.stream}.{consumer.name}"
        await self.bus.api(f"CONSUMER.DELETE.{where}")
        if changed:
            config = {**consumers.config_of(consumer), **changed}
            body = {"stream_name": consumer.stream, "config": config}
            await self.bus.api(
                f"CONSUMER.DURABLE.CREATE.{consumer.stream}.{config['durable_name']}", body
            )


async def missing_stream(it):
    await it.bus.api(f"STREAM.DELETE.{subjects.DEAD}")
    return subjects.DEAD


async def foreign_stream(it):
    [taken] = [made["subjects"] for made in streams.SETTINGS if made["name"] == subjects.DEAD]
    await it.bus.api(f"STREAM.DELETE.{subjects.DEAD}")
    mine = {"name": "MINE", "subjects": taken, "max_bytes": 9999}
    await it.bus.api("STREAM.CREATE.MINE", mine)
    return "MINE"


async def changed_stream(it):
    await it.change(TASKS, max_msgs=1)
    return "max_msgs"


async def foreign_consumer(it):
    lane = consumers.lane("coder", "high")
    await it.consumer(lane, name="theirs", durable_name="theirs")
    return "theirs"


async def changed_consumer(it):
    await it.consumer(consumers.results("planner"), headers_only=True)
    return "planner_results"


async def missing_consumer(it):
    await it.sent()
    await it.consumer(consumers.lane("coder", "normal"))
    return "coder_normal"


async def task_without_message(it):
    sent = await it.sent()
    await it.bus.api(f"STREAM.MSG.DELETE.{TASKS}", {"seq": sent.seq})
    return sent.task_id[:8]


async def message_without_task(it):
    sent = await it.sent()
    ended = steps.step(steps.first_record(sent), "completed", "coder", "", text.now())
    await records.write_record(it.bus, ended, 0)
    return sent.task_id[:8]


async def task_without_sender(it):
    sent = await it.sent()
    await it.purge(RESULTS, subjects.sent_subject("planner", "coder", sent.task_id))
    return sent.task_id[:8]


async def result_without_copy(it):
    await roster.register(it.bus, Agent("reviewer"), text.now())
    sent = await it.sent(reply_to="reviewer")
    await read_inbox(it.coder)
    await publish_result(it.coder, sent.task_id, "completed")
    await it.purge(RESULTS, subjects.record_subject("reviewer", "coder", sent.task_id))
    return sent.task_id[:8]


async def unreadable(it):
    await it.bus.publish("agentbus.An_odd_id.profile", b"{")
    return subjects.AGENTS


async def repeating_schedule(it):
    headers = {"Nats-Schedule": "@every 1h", "Nats-Schedule-Target": "agentbus.coder.due.high.m"}
    await it.bus.publish("agentbus.coder.sched.high.m.t1", b"{}", headers)
    return "agent m"


async def folder_gone(it):
    (it.folder / "shop").mkdir()
    (it.folder / "other").mkdir()
    with names.writing(it.bus.settings) as book:
        book.names["shop-claude"] = names.holder(it.folder / "shop", "claude-code")
    await roster.register(it.bus, Agent("shop-claude"), text.now())
    (it.folder / "shop").rmdir()
    return "shop-claude"


async def self_test_killed(it):
    await roster.register(it.bus, Agent(f"{PROBE}1f2e"), text.now() - _LONG_AGO)
    return f"{PROBE}1f2e"


def a_shell():
    """Start a shell that ends with its input."""
    return subprocess.Popen(["/bin/sh", "-c", "read end"], stdin=subprocess.PIPE)


async def shell_gone(it):
    """Have tasks claimed from a shell that ends then."""
    await it.sent()
    folder = it.bus.settings.state_dir
    # Above it are the tests, which go on.
    with mock.patch.object(processes, "above", lambda pid: [pid]), a_shell() as shell:
        async with shell_session(it.bus, Agent("coder"), folder, shell.pid) as session:
            await read_inbox(session)
        assert await claims.checks(it.bus.settings) == []
        shell.stdin.close()
    return "coder"


BROKEN = {each.__name__: each for each in (
    missing_stream, foreign_stream, changed_stream, foreign_consumer, changed_consumer,
    missing_consumer, task_without_message, message_without_task, task_without_sender,
    result_without_copy, unreadable, repeating_schedule, folder_gone, self_test_killed, shell_gone,
)}  # fmt: skip


@asynccontextmanager
async def at_work(settings, folder):
    """Give a bus with a planner and a coder at work on it."""
    async with (
        Bus.connect(settings) as bus,
        Session(bus, Agent("planner")) as planner,
        Session(bus, Agent("coder")) as coder,
    ):
        for session in (planner, coder):
            await read_inbox(session)
        yield Broken(bus, planner, coder, folder)


async def doctored(settings, **options):
    """Return what is wrong after a doctor has looked or mended, and its steps by their states."""
    _, shown = await printed(settings, **options)
    said = json.loads(shown)
    wrong = [check["said"] for check in said["checks"] if check["state"] != "ok"]
    taken = {}
    for step in said.get("steps", ()):
        taken.setdefault(step["state"], []).append(step["step"])
    return wrong, taken


@pytest.mark.parametrize("what", BROKEN)
async def test_what_is_broken_is_named_and_mended(there, tmp_path, monkeypatch, what):
    monkeypatch.setattr(orphans, "_UNDER_WAY", timedelta())
    async with at_work(there, tmp_path) as it:
        well, nothing = await doctored(there, fix=True, dry_run=True)
        named = await BROKEN[what](it)
        wrong, _ = await doctored(there)
        _, planned = await doctored(there, fix=True, dry_run=True)
        still, _ = await doctored(there)
        mended, done = await doctored(there, fix=True)
        _, left = await doctored(there, fix=True)

        assert set(nothing) == {"none"}
        assert any(named in said for said in set(wrong) - set(well)), wrong
        assert (still, list(planned)) == (wrong, ["would"])
        assert list(done) == ["done"]
        assert set(planned["would"]) <= set(done["done"])
        assert (mended, set(left)) == (well, {"none"})
        assert [item.task.body for item in (await handed_over(it)).tasks]


async def handed_over(it):
    """Have a task go over once all is well again."""
    await it.sent("After")
    return await read_inbox(it.coder)


async def test_what_is_at_work_is_no_orphan(there, tmp_path, monkeypatch):
    """Tasks in every state, one of them held by a session that has it whole, and others' words."""
    monkeypatch.setattr(orphans, "_UNDER_WAY", timedelta())
    async with at_work(there, tmp_path) as it:
        held, _, done, withdrawn = [
            await it.sent(subject) for subject in ("Held", "Waits", "Done", "Withdrawn")
        ]
        await it.sent("Later", deliver_in_s=3600)
        await read_inbox(it.coder, limit=4)
        await publish_result(it.coder, done.task_id, "completed")
        await publish_result(it.planner, withdrawn.task_id, "cancelled")
        await it.bus.api(f"STREAM.MSG.DELETE.{TASKS}", {"seq": held.seq})
        somebodys = b'{"id":"of-another-program","payload":{"content":"x"}}'
        await it.bus.publish(subjects.task_subject("coder", "low", "planner"), somebodys)

        assert await orphans.checks(there) == []

        monkeypatch.setattr(orphans, "_UNDER_WAY", timedelta(hours=1))
        gone = await task_without_message(it)
        assert await orphans.checks(there) == []
        monkeypatch.setattr(orphans, "_UNDER_WAY", timedelta())
        [check] = await orphans.checks(there)
        await asyncio.to_thread(check.mend.do)
        told = (await read_inbox(it.planner)).results
        assert gone in check.said
        assert {each.task_id[:8]: each.state for each in told}[gone] == "failed"


async def test_whose_folder_is_gone_stays_while_it_is_wanted_or_its_disk_may_be_away(
    there, tmp_path
):
    folders = {name: tmp_path / name / "shop" for name in ("coder", "busy", "away", "gone")}
    async with at_work(there, tmp_path) as it:
        with names.writing(there) as book:
            for name, folder in folders.items():
                folder.mkdir(parents=True)
                (folder.parent / "beside").touch()
                book.names[name] = names.holder(folder, "claude-code")
                folder.rmdir()
        for name in ("busy", "away", "gone"):
            await roster.register(it.bus, Agent(name), text.now())
        await send_task(it.planner, "busy", "Count", "x")
        (folders["away"].parent / "beside").unlink()  # as where a disk is put

        checks = await registrations.checks(there)
        await asyncio.to_thread(checks[0].mend.do)
        left = await roster.registered(it.bus)

    assert [(each.state, each.mend is None) for each in checks] == [
        ("warning", False), ("warning", True), ("ok", True),
    ]  # fmt: skip
    assert "gone" in checks[0].said
    assert "still wanted: busy, coder" in checks[1].said
    assert "away" in checks[2].said
    assert left == {"planner", "coder", "busy", "away"}


async def test_by_what_another_stream_copies_tasks_is_named_and_not_removed(there, tmp_path):
    """Only from a work queue does the server copy by a consumer that is seen; it makes it anew."""
    async with at_work(there, tmp_path) as it:
        copies = (("AUDIT", {"sources": [{"name": TASKS}]}), ("WHOLE", {"mirror": {"name": TASKS}}))
        for name, copied in copies:
            await it.bus.api(f"STREAM.CREATE.{name}", {"name": name, **copied})
        # Of a stream that is none, as of one that somebody has made up.
        left = {"name": "left", "durable_name": "left", "ack_policy": "explicit", "sourcing": True}
        body = {"stream_name": TASKS, "config": {**left, "filter_subject": "agentbus.x.tasks.*.*"}}
        await it.bus.api(f"CONSUMER.DURABLE.CREATE.{TASKS}.left", body)
        await until(partial(copied_by, it.bus, 2))

        wrong, _ = await doctored(there)
        _, done = await doctored(there, fix=True)
        _, again = await doctored(there, fix=True)

        assert any("AUDIT, WHOLE" in said for said in wrong), wrong
        assert done["done"] == [f"remove the consumers left from {TASKS}"]
        assert set(again) == {"none"}
        assert await copied_by(it.bus, 2)
        for name, _ in copies:
            await it.bus.api(f"STREAM.DELETE.{name}")


async def copied_by(bus, count):
    answer = await bus.api(f"CONSUMER.NAMES.{TASKS}")
    return sum(name.startswith("JS_") for name in answer["consumers"]) == count


async def test_the_owner_of_a_shared_server_mends_several_at_once(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(orphans, "_UNDER_WAY", timedelta())
    several = (missing_consumer, task_without_sender, foreign_stream)
    async with at_work(shared, tmp_path) as it:
        well, _ = await doctored(shared)
        named = [await broken(it) for broken in several]
        mended, done = await doctored(shared, fix=True)
        _, left = await doctored(shared, fix=True)

        assert list(done) == ["done"]
        assert all(any(each in step for step in done["done"]) for each in named), done
        assert (mended, set(left)) == (well, {"none"})
        assert (await handed_over(it)).tasks
