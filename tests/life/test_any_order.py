# SPDX-License-Identifier: Apache-2.0
"""Whatever agents do, in whatever order: what was acknowledged has one end, and its sender sees it.

Sessions, shells and workers of three agents on a real server; hypothesis chooses what they do, and
says the shortest way to what it finds. AGENTBUS_TEST_EXAMPLES says how many ways it tries.
"""

import asyncio
import itertools
import os
from collections import Counter
from contextlib import AsyncExitStack, suppress

import pytest
import strategies  # noqa: F401  # its profile: what CI says does not change from run to run
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from local_server import kill_servers
from modelled import Member, Sent
from workers import HASTY

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AlreadyEnded, BusUnreachable, NotClaimed, Refused, Unconfirmed
from mcp_agentbus.handoff import agents
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.store import queues
from mcp_agentbus.store.records import read_record, read_sent
from mcp_agentbus.work.worker import Worker

EXAMPLES = int(os.environ.get("AGENTBUS_TEST_EXAMPLES", "6"))
STEPS = 30
HANG_S = 60  # only a hang takes as long
ENDS = {"completed", "failed", "rejected", "cancelled", "expired", "parked"}
AGENTS, ROLE = ("ana", "ben", "cat"), "dev"
LANES = st.sampled_from(["high", "normal", "low"])
# Each run has agents that no other run knows.
_runs = itertools.count()


class AnyOrder(RuleBasedStateMachine):
    """What three agents do; what they were told is the model."""

    members = Bundle("members")
    tasks = Bundle("tasks")

    where = None

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.run = self.runner.run
        self.suffix = f"{os.getpid()}-{next(_runs)}"
        self.bus = self.run(Bus(self.where).__aenter__())
        self.sent, self.requests, self.numbers = {}, {}, itertools.count()
        self.living, self.was_killed, self.is_unsure = set(), False, False

    def name(self, agent):
        return f"{agent}-{self.suffix}"

    @property
    def role(self):
        return f"{ROLE}-{self.suffix}"

    @initialize(target=members)
    def begin(self):
        """Have each agent be there, and something wait for each."""
        opened = [self.run(self._opened(agent)) for agent in AGENTS]
        for member, to in zip(opened, ["ben", ROLE, "ana"], strict=True):
            self._sent(member, to, "normal", "plain")
        return multiple(*opened)

    async def _opened(self, agent, *, shell=False):
        stack = AsyncExitStack()
        bus = await stack.enter_async_context(Bus(self.where))
        me = Agent(self.name(agent), roles=(self.role,) if agent != "ana" else ())
        opened = shell_session(bus, me, self.where.state_dir) if shell else Session(bus, me)
        session = await stack.enter_async_context(opened)
        await session.called()
        await session.can_read()
        member = Member(bus, session, stack)
        self.living.add(member)
        return member

    @rule(target=members, agent=st.sampled_from(AGENTS), shell=st.booleans())
    def open(self, agent, shell):
        return self.run(self._opened(agent, shell=shell))

    @rule(member=consumes(members))
    def close(self, member):
        self._gone(member)
        self.run(member.close())

    @rule(member=consumes(members))
    def crash(self, member):
        self._gone(member)
        self.run(member.crash(self.bus))

    def _gone(self, member):
        self.living.discard(member)
        for task in self.sent.values():
            if member.session.id in task.holders and not member.session.leased:
                task.holders.discard(member.session.id)
                task.was_back = True

    @rule(
        target=tasks,
        member=members,
        to=st.sampled_from([*AGENTS, ROLE]),
        lane=LANES,
        kind=st.sampled_from(["plain", "plain", "word", "deadline", "soon", "later", "request"]),
    )
    def send(self, member, to, lane, kind):
        task_id = self._sent(member, to, lane, kind)
        return task_id or multiple()

    def _sent(self, member, to, lane, kind):
        """Send a task; return its id, None if that is not known."""
        number = next(self.numbers)
        options = {
            "word": {"expect": "nothing"}, "deadline": {"expires_in_s": 3600},
            "soon": {"expires_in_s": 1}, "later": {"deliver_in_s": 1},
            "request": {"request_id": f"r-{number}"},
        }.get(kind, {})  # fmt: skip
        address = f"role:{self.role}" if to == ROLE else self.name(to)
        asked = (address, str(number), "x")
        told = self.run(self._asked(send_task, member.session, *asked, priority=lane, **options))
        if told is None:
            return None
        [receipt] = told
        assert (receipt.state, receipt.duplicate) == ("stored", False)
        assert receipt.task_id not in self.sent
        place = f"role-{self.role}" if to == ROLE else self.name(to)
        self.sent[receipt.task_id] = Sent(member.agent, place, lane, number, kind)
        if kind == "request":
            self.requests[receipt.task_id] = (member, asked, {"priority": lane, **options})
        return receipt.task_id

    @rule(task_id=tasks)
    def send_again(self, task_id):
        member, asked, options = self.requests.get(task_id, (None, (), {}))
        if member in self.living:
            again = self.run(self._asked(send_task, member.session, *asked, **options))
            assert again is None or (again[0].task_id, again[0].duplicate) == (task_id, True)

    @rule(member=members, limit=st.sampled_from([None, 1, 3]))
    def read(self, member, limit):
        self.run(self._read(member, limit))

    async def _read(self, member, limit=None):
        answer = await self._asked(read_inbox, member.session, limit=limit)
        if answer is None:
            return ()
        for record in answer.results:
            task = self.sent[record.task_id]
            assert task.sender == member.agent
            task.shown.add(record.state)
        last = {}
        for item in answer.tasks:
            task = self.sent[item.task.id]
            assert (item.task.subject, item.task.sender) == (str(task.number), task.sender)
            assert task.inbox in member.session.inboxes
            assert not {one.session.id for one in self.living} & task.holders - {member.session.id}
            if item.new and not task.was_back and not task.is_timed:
                lane = (task.sender, task.inbox, task.lane)
                assert last.get(lane, -1) < task.number, "of one sender and lane, in order"
                last[lane] = task.number
            if task.is_word:
                task.ends.add("told")
            else:
                task.holders.add(member.session.id)
        if not answer.degraded:
            self._fits(answer.waiting, member.session.inboxes)
        return answer.tasks

    def _fits(self, told, inboxes):
        """See that what is told to wait in inboxes is what was sent there and nobody has done."""
        if self.is_unsure:  # what a call has done that nobody confirmed, no model knows
            return
        least, most = Counter(), Counter()
        for task in self.sent.values():
            # What was withdrawn counts until somebody reads there, and what was said may be over.
            is_done = task.holders or (task.ends - {"cancelled", "told"} and not self.was_killed)
            if task.inbox in inboxes and not is_done:
                most[task.lane] += 1
                is_known = not (task.is_word or task.is_timed or task.was_back)
                least[task.lane] += is_known and not task.ends | task.shown & ENDS
        assert all(least[lane] <= told.get(lane, 0) <= most[lane] for lane in most), (least, most)
        assert told.keys() <= most.keys()

    @invariant()
    def the_list_tells_what_waits(self):
        if self.was_killed:  # it waits for the signs of life that the server has forgotten
            return
        page = self.run(self._asked(agents.page, self.bus, query=self.suffix, limit=99))
        for listed in page.agents if page else ():
            if listed.entry.id in map(self.name, AGENTS):
                self._fits(listed.waiting, (listed.entry.id,))

    @rule(member=members, status=st.sampled_from(["completed", "failed", "rejected"]))
    def finish(self, member, status):
        for task_id in self._held(member)[:1]:
            self._said(member, task_id, status)

    @rule(member=members, status=st.sampled_from(["working", "needs_input", "released"]))
    def tell(self, member, status):
        for task_id in self._held(member)[:1]:
            self._said(member, task_id, status)

    @rule(task_id=tasks, member=members, status=st.sampled_from(["cancelled", "answered"]))
    def say_as_sender(self, task_id, member, status):
        if self.sent[task_id].sender == member.agent:
            self._said(member, task_id, status)

    @rule(task_id=tasks, member=members)
    def finish_what_another_holds(self, task_id, member):
        task = self.sent[task_id]
        others = {one.session.id for one in self.living} & task.holders - {member.session.id}
        if others and not task.ends and task.inbox in member.session.inboxes:
            with pytest.raises(Refused):
                self.run(publish_result(member.session, task_id, "completed", summary="stolen"))

    def _held(self, member):
        return sorted(
            task_id for task_id, task in self.sent.items() if member.session.id in task.holders
        )

    def _said(self, member, task_id, status):
        """Publish a status, and note an end that was stored; what is refused changes nothing."""
        task, told = (
            self.sent[task_id],
            publish_result(member.session, task_id, status, summary="s"),
        )
        stored, refusal = self.run(self._said_so(told))
        # Only what came back may be another's by now, and only what had an end cannot be ended.
        assert refusal is not NotClaimed or task.was_back or len(task.holders) > 1
        assert refusal is not AlreadyEnded or task.ends or task.is_timed
        if refusal is None and stored is None:
            return
        if stored and not stored.is_word and status in ENDS:
            task.ends.add(status)
            if status == "cancelled":  # who says so knows
                task.shown.add(status)
        task.was_back |= bool(stored) and status == "released"
        if status in ENDS | {"released"}:
            task.holders.discard(member.session.id)

    async def _said_so(self, told):
        """Return what is stored now, or as what it was refused; neither where that is not known."""
        try:
            return await told, None
        except (BusUnreachable, Unconfirmed):
            self.is_unsure = True
            return None, None
        except Refused as error:
            return None, type(error)

    @rule(agent=st.sampled_from(AGENTS))
    def work_once(self, agent):
        """Have a worker do one task, by a function."""
        did = []

        async def work():
            async with Bus(self.where) as bus, Worker(bus, Agent(self.name(agent))) as worker:
                await worker.run_once(lambda task: self._done(did, task))

        try:
            self.run(work())
        except (BusUnreachable, Unconfirmed):
            self.is_unsure = True
        for task_id in did:
            if not self.sent[task_id].is_word:
                self.sent[task_id].ends.add("completed")

    async def _done(self, did, task):
        did.append(task.id)
        return "done"

    @rule(chance=st.integers(0, 4))
    def kill_the_server(self, chance):
        if chance == 0:
            self.was_killed = True  # and may have forgotten that something is over
            kill_servers(self.where)
            embedded.ensure(self.where)

    async def _asked(self, call, *words, **options):
        """Return the answer; None where a killed server's connection was still believed in."""
        try:
            async with asyncio.timeout(HANG_S):
                return await call(*words, **options)
        except (BusUnreachable, Unconfirmed):
            self.is_unsure = True
            return None

    def teardown(self):
        try:
            self.run(self._settle())
        finally:
            for member in self.living:
                self.run(member.close())
            self.run(self.bus.close())
            self.runner.close()

    async def _settle(self):
        """Have everybody do what waits, and see how each task ended."""
        # What a shell holds only a shell gives back.
        for agent, shell in itertools.product(AGENTS, (False, True)):
            await self._opened(agent, shell=shell)
        async with asyncio.timeout(HANG_S):
            while await self._open():
                for member in list(self.living):
                    for item in await self._read(member):
                        if item.task.id in self._held(member):
                            await self._ended(member, item.task.id)
            await asyncio.gather(*map(self._watched, self.sent))
            while [task for task in self.sent.values() if not (task.is_word or task.shown & ENDS)]:
                for member in list(self.living):
                    await self._read(member)
        by_task = await asyncio.gather(*map(self._record, self.sent))
        for task_id, record in zip(self.sent, by_task, strict=True):
            if not self.sent[task_id].is_word:
                await self._has_one_end(task_id, record)

    async def _has_one_end(self, task_id, record):
        task = self.sent[task_id]
        ends = [moment.state for moment in record.history if moment.state in ENDS]
        if record.late and task.kind == "soon":  # whoever held it had ended it by then
            assert ends.pop(0) == "expired"
            task.shown.discard("expired")
        assert len(ends) == 1, (task_id, task, record)
        assert task.ends <= {record.state}
        assert task.shown & ENDS == {record.state}
        for member in self.living:
            if member.agent == task.sender or task.inbox in member.session.inboxes:
                assert (await task_life(member.session, task_id)).state == record.state
        assert (await read_sent(self.bus, task.sender, task.inbox, task_id))[0]

    async def _watched(self, task_id):
        """Have its sender wait for the end of a task whose time may just be over."""
        task = self.sent[task_id]
        sender = next(member for member in self.living if member.agent == task.sender)
        while task.kind == "soon" and not task.shown & ENDS:
            answer = await self._asked(watch_inbox, sender.session, task_id=task_id, timeout_s=5)
            task.shown |= {record.state for record in (answer.results if answer else ())}

    async def _ended(self, member, task_id):
        with suppress(Refused, BusUnreachable, Unconfirmed):
            await publish_result(member.session, task_id, "completed", summary="s")
            self.sent[task_id].ends.add("completed")
        self.sent[task_id].holders.discard(member.session.id)

    async def _record(self, task_id):
        task = self.sent[task_id]
        record, _ = await read_record(self.bus, task.sender, task.inbox, task_id)
        return record

    async def _open(self):
        """Return how many tasks of these agents are stored and not ended."""
        stored = await queues.stored_tasks(self.bus)
        inboxes = {task.inbox for task in self.sent.values()}
        count = sum(n for subject, n in stored.items() if subject.split(".")[1] in inboxes)
        later = [task for task in self.sent.values() if task.kind == "later"]
        scheduled = [task for task in later if not task.shown & ENDS]
        return count + len(scheduled)


def test_whatever_is_done_each_task_has_one_end_and_its_sender_sees_it(tmp_path, monkeypatch):
    for name, value in HASTY.items():
        monkeypatch.setattr(f"mcp_agentbus.{name}", value)
    with embedded.ephemeral() as where:
        machine = type("Machine", (AnyOrder,), {"where": where})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
