# SPDX-License-Identifier: Apache-2.0
"""Workers that are killed, told to end, or lose the bus; programs that hang: no task is lost."""

import asyncio
import json
import shlex
import sys
from pathlib import Path

import pytest
import served
from atwork import at_work, has_ended, shell
from listeners import configure, in_state, listening, recorder, starts
from local_server import is_gone, kill_servers, until
from workers import forget

from mcp_agentbus.bus import embedded
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster, streams

# A program that says that it is there, and then hangs until a signal ends it.
HANGS = "echo $$ > up.new; mv up.new up; exec tail -f /dev/null"


async def send(session, to, subject="Count", **options):
    """Send a task; return its id."""
    [receipt] = await send_task(session, to, subject, "all of them", **options)
    return receipt.task_id


async def result_of(session, task_id):
    """Wait for the result of a task."""
    [record] = (await watch_inbox(session, task_id=task_id, timeout_s=60)).results
    return record


async def states(session, task_id):
    """Return the steps of a task's life."""
    return [step.state for step in (await task_life(session, task_id)).history]


async def written(path: Path) -> str:
    """Wait until a program has put a file there; return what it says."""
    await asyncio.to_thread(until, path.exists, f"{path} is there")
    return await asyncio.to_thread(path.read_text)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where a worker and its programs work."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def registered(session, agent):
    """Have an agent known, so that tasks may be sent to it before its worker is there."""
    await streams.ensure_streams(session.bus)
    await roster.register(session.bus, Agent(agent), None)


@pytest.mark.promise(9)
@pytest.mark.promise(47)
async def test_what_a_killed_worker_was_at_is_done_by_the_next_one_and_has_not_failed(
    world, home, here
):
    planner, agent = await world.session("planner"), world.name("coder")
    program = shell("test -e second && echo done && exit", "touch second", HANGS)
    async with at_work(home, agent, *program) as first:
        task_id = await send(planner, agent)
        pid = int(await written(here / "up"))
        await first.kill()
    await asyncio.to_thread(until, lambda: has_ended(pid), "its program is ended, too")
    await forget(world.bus, agent, first.session)

    async with at_work(home, agent, *program):
        record = await result_of(planner, task_id)

    assert (record.state, record.body, record.attempts) == ("completed", "done\n", 2)
    assert "failed" not in await states(planner, task_id)


@pytest.mark.promise(47)
async def test_a_workers_guard_is_there_before_an_upgrade_could_take_its_files(world, home, here):
    async with at_work(home, world.name("coder"), *shell("echo done")) as worker:
        guards = ("pgrep", "-P", str(worker.process.pid), "-f", "mcp_agentbus.work.guard")

        assert await (await asyncio.create_subprocess_exec(*guards)).wait() == 0


@pytest.mark.promise(48)
async def test_a_program_that_hangs_is_ended_with_its_children_and_the_next_task_is_done(
    world, home, here
):
    """Its child has its standard output, for which nobody waits."""
    planner, agent = await world.session("planner"), world.name("coder")
    hangs = "echo before; echo why >&2; tail -f /dev/null & echo $! > child; wait"
    program = shell("test -e child && exec echo next", hangs)
    async with at_work(home, agent, *program, options=("--time-limit", "1")):
        tasks = [await send(planner, agent, subject) for subject in ("hangs", "next")]
        records = [await result_of(planner, task_id) for task_id in tasks]

    assert [record.state for record in records] == ["failed", "completed"]
    assert records[0].summary.startswith("Not done in 1s: the program was ended.")
    assert "The end of its standard error:\nwhy" in records[0].summary
    assert [record.body for record in records] == ["before\n", "next\n"]
    until(lambda: has_ended(int((here / "child").read_text())), "the child is gone")


@pytest.mark.promise(47)
async def test_a_worker_that_is_told_to_end_does_what_it_is_at_and_takes_no_more(world, home, here):
    planner, agent = await world.session("planner"), world.name("coder")
    program = shell("touch up; until test -e go; do sleep 0.02; done; echo done")
    async with at_work(home, agent, *program) as worker:
        at_work_, waiting = [await send(planner, agent, subject) for subject in "ab"]
        await written(here / "up")
        worker.tell()
        await worker.logged("draining")
        (here / "go").touch()
        code = await worker.ended()

    assert code == 0
    assert (await result_of(planner, at_work_)).state == "completed"
    assert await states(planner, waiting) == ["stored"]


async def test_told_to_end_twice_it_gives_back_what_it_is_at_and_ends_the_program(
    world, home, here
):
    planner, agent = await world.session("planner"), world.name("coder")
    async with at_work(home, agent, *shell(HANGS)) as worker:
        task_id = await send(planner, agent)
        pid = int(await written(here / "up"))
        worker.tell()
        await worker.logged("draining")
        worker.tell()
        code = await worker.ended()

    assert (code, is_gone(pid)) == (130, True)
    assert await states(planner, task_id) == ["stored", "claimed", "working", "stored"]


async def test_a_program_is_ended_once_its_task_is_withdrawn(world, home, here):
    planner, agent = await world.session("planner"), world.name("coder")
    async with at_work(home, agent, *shell(HANGS)) as worker:
        task_id = await send(planner, agent)
        pid = int(await written(here / "up"))
        await publish_result(planner, task_id, "cancelled")

        assert (await worker.logged("ended", task=task_id))["state"] == "over"
        assert is_gone(pid)


async def test_a_worker_outlives_its_server_and_stores_what_came_meanwhile(own_world, here):
    planner, settings = await own_world.session("planner"), own_world.bus.settings
    agent = own_world.name("coder")
    program = shell("touch up; until test -e go; do sleep 0.02; done; echo done")
    async with at_work(settings, agent, *program) as worker:
        task_id = await send(planner, agent)
        await written(here / "up")
        kill_servers(settings)
        (here / "go").touch()
        await worker.logged("away")  # and starts it again: nobody else is there
        await worker.logged("ended", task=task_id)
        record = await result_of(planner, task_id)
        later = await result_of(planner, await send(planner, agent, "later"))

    assert (record.state, record.body, record.attempts) == ("completed", "done\n", 1)
    assert later.state == "completed"


async def test_it_starts_no_server_that_somebody_has_stopped(own_world, here):
    settings = own_world.bus.settings
    async with at_work(settings, "coder", *shell("true")) as worker:
        embedded.stop(settings)
        await worker.logged("away")

        assert embedded.find(settings) is None
        worker.tell()
        assert await worker.ended() == 0


async def test_two_workers_of_one_agent_do_each_of_twenty_tasks_once(world, home, here):
    planner, agent = await world.session("planner"), world.name("coder")
    await registered(planner, agent)
    program = shell("echo x >> runs")
    tasks = [await send(planner, agent, f"{number}") for number in range(20)]
    options = ("--jobs", "2")
    async with (
        at_work(home, agent, *program, options=options) as one,
        at_work(home, agent, *program, options=options) as other,
    ):
        inbox = await watch_inbox(planner, task_id=tasks, timeout_s=60)

    assert [record.state for record in inbox.results] == ["completed"] * 20
    assert (here / "runs").read_text() == "x\n" * 20
    took = [
        [line["task"] for line in each.log if line["event"] == "taken"] for each in (one, other)
    ]
    assert sorted(took[0] + took[1]) == sorted(tasks)


@pytest.mark.promise(48)
async def test_what_a_program_prints_comes_whole_or_in_a_file_that_the_result_names(
    world, home, here
):
    planner, agent = await world.session("planner"), world.name("coder")
    code = "import sys; print('x' * (2 << 20 if 'huge' in sys.stdin.read() else 140_000))"
    async with at_work(home, agent, sys.executable, "-S", "-c", code):
        long = await result_of(planner, await send(planner, agent))
        huge = await result_of(planner, await send(planner, agent, "huge"))

    assert (long.state, long.body) == ("completed", "x" * 140_000 + "\n")
    assert (huge.state, huge.body) == ("completed", "")
    assert "2,097,153 bytes, of which a result holds 262,144: all of it is in" in huge.summary
    assert await written(Path(huge.artifacts[0])) == "x" * (2 << 20) + "\n"


@pytest.mark.promise(26)
async def test_beside_a_worker_nobody_is_started(own_world, here):
    planner, settings = await own_world.session("planner"), own_world.bus.settings
    notes = here / "notes"
    notes.mkdir()
    configure(settings, here, coder={"command": recorder(notes)})
    async with listening(settings) as listener, at_work(settings, "coder", *shell(HANGS)) as worker:
        await listener.logged("joined", agent="coder")
        await in_state("live session", planner, "coder")
        await send(planner, "coder", priority="high")
        await worker.logged("taken")
        await written(here / "up")
        await send(planner, "coder", priority="high")

        assert (await listener.logged("held", agent="coder"))["reason"] == "worker"
        # The listener registers it as what it would start, before the worker or after it.
        assert "worker" in (await roster.look(planner.bus, "coder")).hosts
        assert starts(notes) == []


@pytest.mark.promise(24)
async def test_no_byte_of_a_peer_is_in_what_is_started_or_in_the_log(world, home, here):
    planner, agent = await world.session("planner"), world.name("coder")
    show = shell("env; tr '\\0' ' ' < /proc/$$/cmdline; pwd; ls")
    secret = "$(touch owned) zq-hostile"
    async with at_work(home, agent, *show) as worker:
        [receipt] = await send_task(
            planner, agent, f"Subject {secret}", f"Body {secret}",
            task_type="zq-hostile", thread_id="zq-hostile",
        )  # fmt: skip
        record = await result_of(planner, receipt.task_id)
    await worker.ended()

    assert record.state == "completed"
    assert "zq-hostile" not in record.body
    assert "zq-hostile" not in json.dumps(worker.log)
    assert f"AGENTBUS_AGENT={agent}\n" in record.body
    assert "AGENTBUS_HOST=worker\n" in record.body  # and not of the host around its worker


async def test_what_a_program_sends_on_goes_on_from_its_task(world, home, here):
    """So that no circle of workers escapes the limit of hops."""
    planner, agent = await world.session("planner"), world.name("coder")
    reader = await world.session("reader")
    send_on = shlex.join([*served.AGENTBUS, "send", reader.me.id, "Subject", "Body"])
    async with at_work(home, agent, *shell(send_on)):
        task_id = await send(planner, agent)
        [item] = (await watch_inbox(reader, timeout_s=60)).tasks
        assert (await result_of(planner, task_id)).state == "completed"

    assert (item.task.sender, item.task.hops) == (agent, 1)
    assert item.task.chain == (planner.me.id, agent)


async def test_a_worker_by_its_file_does_tasks_as_an_argument_and_logs_no_text(world, home, here):
    planner, agent = await world.session("planner"), world.name("coder")
    file = here / "worker.toml"
    program = json.dumps([*shell('printf %s "$0"; exit "$1"'), "{input}", "0"])
    file.write_text(f"""
        [agent]
        id = "{agent}"
        chat_cmd = {program}
        extra_instruction = "In German."
        [worker]
        max_task_bytes = 2000
        task_timeout_seconds = 60
        [log]
        dir = "{here}/logs"
        level = "debug"
    """)
    words = ("worker", "run", "--config", str(file))
    async with at_work(home, agent, words=words) as worker:
        done = await result_of(planner, await send(planner, agent))
        [receipt] = await send_task(planner, agent, "Too large", "x" * 2000)
        refused = await result_of(planner, receipt.task_id)
        await worker.logged("ended", task=receipt.task_id)
        worker.tell()
        assert await worker.ended() == 0

    assert done.body.startswith(f"You are {agent} (an agent of your user on agentbus).")
    assert "The instruction of your user:\nIn German.\n" in done.body
    assert refused.state == "rejected"
    logged = await written(here / "logs/agentbus-worker.log")
    assert [json.loads(line) for line in logged.splitlines()] == worker.log
    assert [word for word in ("Count", "all of them", "German", "xxx") if word in logged] == []
    # A result can be read before its worker has written the line of it.
    assert [line["event"] for line in worker.log if line["event"] != "draining"] == [
        "started", "taken", "ended", "taken", "ended", "stopped",
    ]  # fmt: skip
