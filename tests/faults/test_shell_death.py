# SPDX-License-Identifier: Apache-2.0
"""A shell's commands die, its file is lost, its server is killed: what it holds is in the records."""

import asyncio
import errno
import itertools
from contextlib import asynccontextmanager

import pytest
from local_server import kill_servers

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import LANES, Agent
from mcp_agentbus.errors import BusUnreachable, NotClaimed
from mcp_agentbus.handoff import shells
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.dispatch import noted
from mcp_agentbus.handoff.dispatch.noted import CauseMemory
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.records import read_record

_HANG_S = 60  # only a hang takes as long
_MANY = 12


class Dying(Bus):
    """The bus of a process that is killed before one of its requests: from then on none goes out."""

    def __init__(self, settings, requests):
        super().__init__(settings)
        self._left = requests
        self._under_way = 0
        #: Set once what was asked before has been answered, so that nothing more happens.
        self.dead, self.buried = asyncio.Event(), asyncio.Event()

    async def _live(self, **how):
        self._left -= 1
        if self._left < 0:
            self._ended()
            await self.buried.wait()
            raise BusUnreachable
        return await super()._live(**how)

    async def _tried(self, *what, **how):
        self._under_way += 1
        try:
            return await super()._tried(*what, **how)
        finally:
            self._ended()

    def _ended(self):
        self._under_way -= 1
        if self._left < 0 and self._under_way <= 0:
            self.dead.set()


class Killed:
    """Carries out commands of a shell whose process is killed, and leaves no trace of its own."""

    def __init__(self, settings, folder):
        self._settings, self._folder = settings, folder
        self._buses, self._left_behind = [], []

    async def run(self, agent, requests, command):
        """Run a command until its request of that number; tell whether it died before its end."""
        bus = Dying(self._settings, requests)
        session = Session(bus, agent, id=shells.session_id(agent.id, self._folder), leased=True)
        running = asyncio.create_task(command(session))
        died = asyncio.create_task(bus.dead.wait())
        await asyncio.wait({running, died}, return_when=asyncio.FIRST_COMPLETED)
        self._buses.append(bus)
        self._left_behind += [running, died]
        return bus.dead.is_set()

    async def bury(self):
        for bus in self._buses:
            bus.dead.set()
            bus.buried.set()
            await bus.close()
        await asyncio.gather(*self._left_behind, return_exceptions=True)


@asynccontextmanager
async def killed(world, folder):
    commands = Killed(world.bus.settings, folder)
    try:
        yield commands
    finally:
        await commands.bury()


@pytest.fixture
def tell(world, tmp_path):
    """Give what opens an agent's shell, as its next command would."""
    return lambda agent, folder=tmp_path: shell_session(world.bus, agent, folder)


async def sent_to(world, agent, count):
    """Have planner send an agent that is known so many tasks; return their ids, in order."""
    planner = await world.session("planner")
    await consumers.ensure_inbox(world.bus, agent.id)
    async with Session(world.bus, agent) as session:
        await session.called()
    return [
        (await send_task(planner, agent.id, f"{number}", "x"))[0].task_id for number in range(count)
    ]


async def held_by(world, agent, folder, task_ids):
    """Return those of some tasks of which the records say that the agent's shell holds them."""
    mine = shells.session_id(agent.id, folder)
    records = [(await read_record(world.bus, "*", agent.id, task_id))[0] for task_id in task_ids]
    return [record.task_id for record in records if record and record.session == mine]


def ids_of(answer):
    return [item.task.id for item in answer.tasks]


async def test_whenever_a_command_is_killed_the_next_holds_what_the_records_say(
    world, tell, tmp_path
):
    async with asyncio.timeout(_HANG_S), killed(world, tmp_path) as commands:
        for requests in itertools.count():
            agent = Agent(world.name(f"coder-{requests}"))
            sent = await sent_to(world, agent, 3)
            died = await commands.run(agent, requests, read_inbox)
            held = await held_by(world, agent, tmp_path, sent)

            async with tell(agent) as session:
                await session.called()
                assert list(session.claims) == held
                ends = [await publish_result(session, task_id, "completed") for task_id in held]
            assert {end.state for end in ends} <= {"completed"}
            if not died:
                break

    assert held == sent
    assert requests > 15


async def test_a_report_that_is_killed_at_any_request_leaves_all_other_claims_held(
    world, tell, tmp_path
):
    agent = Agent(world.name("coder"))
    sent = await sent_to(world, agent, _MANY)
    async with tell(agent) as session:
        await read_inbox(session, limit=_MANY)

    async with asyncio.timeout(_HANG_S), killed(world, tmp_path) as commands:
        for requests in itertools.count():
            died = await commands.run(
                agent, requests, lambda session: publish_result(session, sent[0], "working")
            )
            async with tell(agent) as session:
                assert sorted(ids_of(await read_inbox(session, limit=50))) == sorted(sent)
            if not died:
                break


@pytest.mark.parametrize(
    "content",
    [None, b"", b'{"session": "shell-1", "cla', b"\x00\xff", b"[]", b"[" * 10**5, b'{"ended": {"at": 1}}',
     b'{"session": "shell-0123456789abcdef", "claims": []}'],
    ids=["gone", "empty", "cut", "bytes", "another kind", "nested", "another shape", "an older version's"],
)  # fmt: skip
async def test_whatever_becomes_of_its_file_a_shell_holds_what_it_held(
    world, tell, tmp_path, content
):
    agent = Agent(world.name("coder"))
    sent = await sent_to(world, agent, _MANY)
    async with tell(agent) as session:
        await read_inbox(session, limit=_MANY)

    file = tmp_path / f"shell-{agent.id}.jsonl"
    file.unlink()
    if content is not None:
        file.touch(mode=0o600)
        file.write_bytes(content)

    async with tell(agent) as session:
        again = await read_inbox(session, limit=_MANY)
        ends = [await publish_result(session, task_id, "completed") for task_id in sent]
    assert ids_of(again) == sent
    assert not any(item.new for item in again.tasks)
    assert {end.state for end in ends} == {"completed"}


async def test_a_shell_works_where_no_file_can_be_written(world, tell, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    folder = tmp_path / "file" / "state"
    agent = Agent(world.name("coder"))
    [sent] = await sent_to(world, agent, 1)

    async with tell(agent, folder) as session:
        await read_inbox(session)
    async with tell(agent, folder) as session:
        end = await publish_result(session, sent, "completed")

    assert end.state == "completed"
    assert "shell-" in caplog.text
    assert "cannot be written: Not a directory" in caplog.text
    assert "Hint: See: ls -ld" in caplog.text


async def test_a_shell_works_while_another_command_of_it_waits(world, tell):
    agent = Agent(world.name("coder"))
    [first] = await sent_to(world, agent, 1)
    async with tell(agent) as session:
        await read_inbox(session)
        await publish_result(session, first, "needs_approval", summary="May I?")
    blocked = asyncio.Event()

    async def waiting(_):
        blocked.set()

    async with asyncio.timeout(_HANG_S), tell(agent) as session:
        watch = asyncio.create_task(watch_inbox(session, timeout_s=_HANG_S, waiting=waiting))
        await blocked.wait()
        async with tell(agent) as other:
            await publish_result(other, first, "completed")
        [second] = await sent_to(world, agent, 1)
        assert ids_of(await watch) == [second]


async def test_commands_at_once_hold_together_what_each_of_them_has_claimed(world, tell):
    agent = Agent(world.name("coder"))
    sent = await sent_to(world, agent, _MANY)

    async def command():
        async with tell(agent) as session:
            return ids_of(await read_inbox(session, limit=2))

    claimed = await asyncio.gather(*(command() for _ in range(_MANY // 2)))
    async with tell(agent) as session:
        together = ids_of(await read_inbox(session, limit=50))

    assert sorted(together) == sorted(sent)
    assert {task_id for some in claimed for task_id in some} <= set(sent)


async def test_a_shell_of_another_machine_or_home_is_another_session(
    world, tell, tmp_path, monkeypatch
):
    agent = Agent(world.name("coder"))
    [sent] = await sent_to(world, agent, 1)
    async with tell(agent) as session:
        await read_inbox(session)
    monkeypatch.setattr(shells, "_MACHINE_IDS", ())
    here = shells.session_id(agent.id, tmp_path)
    assert here == shells.session_id(agent.id, tmp_path)
    monkeypatch.setattr(shells.socket, "gethostname", lambda: "elsewhere")
    monkeypatch.setattr(shells.processes, "naming", lambda: "elsewhere")

    for folder in (tmp_path, tmp_path / "another"):
        async with tell(agent, folder) as session:
            assert session.id != here
            with pytest.raises(NotClaimed, match="held by session shell-"):
                await publish_result(session, sent, "completed")


async def test_a_worker_whose_process_died_gets_its_tasks_from_watch_again(world, tell):
    agent = Agent(world.name("coder"))
    sent = await sent_to(world, agent, 3)
    async with tell(agent) as session:
        first = await watch_inbox(session, timeout_s=_HANG_S)
    async with tell(agent) as session:
        await publish_result(session, sent[0], "needs_approval", summary="May I?")
        await publish_result(session, sent[1], "working")

    async with tell(agent) as session:
        again = await watch_inbox(session, timeout_s=_HANG_S)
        await publish_result(session, sent[1], "completed")
        await publish_result(session, sent[2], "completed")
    async with tell(agent) as session:
        waited = await watch_inbox(session, timeout_s=0.05)

    assert ids_of(first) == sent
    # What waits for an approval is nothing to go on with.
    assert [(item.task.id, item.state, item.new) for item in again.tasks] == [
        (sent[1], "working", False),
        (sent[2], "claimed", False),
    ]
    assert (waited.timed_out, waited.held) == (True, 1)


async def test_a_watch_of_one_priority_shows_what_is_held_of_it_alone(world, tell):
    agent = Agent(world.name("coder"))
    await sent_to(world, agent, 1)
    async with tell(agent) as session:
        await read_inbox(session)

    async with tell(agent) as session:
        high = await watch_inbox(session, timeout_s=0.05, priority="high")
        normal = await watch_inbox(session, timeout_s=0.05, priority="normal")

    assert (ids_of(high), high.timed_out) == ([], True)
    assert len(normal.tasks) == 1


async def test_claims_of_a_shell_survive_a_kill_of_the_server(own_world, tmp_path):
    agent, settings = Agent(own_world.name("coder")), own_world.bus.settings
    sent = await sent_to(own_world, agent, 3)
    async with shell_session(own_world.bus, agent, tmp_path) as session:
        await read_inbox(session)
    await asyncio.to_thread(kill_servers, settings)
    embedded.ensure(settings)

    async with shell_session(await own_world.another_bus(), agent, tmp_path) as session:
        ends = [await publish_result(session, task_id, "completed") for task_id in sent]

    assert [end.state for end in ends] == ["completed"] * 3


async def forget(bus, agent):
    """Have the server forget what it has handed out, as one that was killed at once may have."""
    for lane in LANES:
        consumer = subjects.lane_consumer(agent.id, lane)
        await bus.api(f"CONSUMER.DELETE.{subjects.TASKS}.{consumer}")
    await consumers.ensure_inbox(bus, agent.id)


async def test_a_claim_that_the_server_forgot_is_answered_all_the_same(world, tell):
    agent = Agent(world.name("coder"))
    sent = await sent_to(world, agent, 3)
    async with tell(agent) as session:
        await read_inbox(session)
    await forget(world.bus, agent)

    async with tell(agent) as session:
        ends = [
            await publish_result(session, sent[0], "working"),
            await publish_result(session, sent[1], "completed"),
        ]
    async with tell(agent) as session:
        again = await read_inbox(session)
    async with tell(agent) as session:
        once_more = await read_inbox(session)

    assert [end.state for end in ends] == ["working", "completed"]
    for answer in (again, once_more):
        assert [(item.task.id, item.state, item.new, item.attempt) for item in answer.tasks] == [
            (sent[0], "working", False, 1),
            (sent[2], "claimed", False, 1),
        ]
    assert (again.waiting, once_more.waiting) == ({}, {})


async def test_what_one_command_has_claimed_is_not_shown_by_another_that_began_before(world, tell):
    agent = Agent(world.name("coder"))
    [sent] = await sent_to(world, agent, 1)
    async with tell(agent) as before, tell(agent) as beside, tell(agent) as after:
        await before.called()
        await read_inbox(beside)
        await forget(world.bus, agent)
        beside_it = await read_inbox(before)
        await forget(world.bus, agent)
        later = await read_inbox(after)

    assert ids_of(beside_it) == []
    assert [(item.task.id, item.new) for item in later.tasks] == [(sent, False)]


async def test_a_claim_whose_task_is_gone_from_the_bus_is_said_to_be(world, tell):
    agent = Agent(world.name("coder"))
    [sent] = await sent_to(world, agent, 1)
    async with tell(agent) as session:
        await read_inbox(session)
    tasks = subjects.task_subject(agent.id, "*", "*")
    await world.bus.api(f"STREAM.PURGE.{subjects.TASKS}", {"filter": tasks})

    async with tell(agent) as session:
        with pytest.raises(NotClaimed, match="gone from the bus"):
            await publish_result(session, sent, "completed")


def test_a_memory_that_is_anothers_is_said_with_what_mends_it(tmp_path, monkeypatch, caplog):
    file = tmp_path / "agentbus" / "shell-coder.jsonl"

    def refused(_):
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr(noted, "check_private", refused)
    CauseMemory(file, Claims(None, "coder", "s1")).recall()

    assert f"{file} cannot be read: Permission denied. Hint: " in caplog.text
    assert "Errno" not in caplog.text
