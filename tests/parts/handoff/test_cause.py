# SPDX-License-Identifier: Apache-2.0
"""What a task goes on from that a process of an agent sends while another one has, or had, some."""

import json
import logging
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
from messages import read_record, read_task

from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.dispatch.memory import cause, causes, remember
from mcp_agentbus.handoff.dispatch.noted import CauseMemory, of_sessions, ways_in
from mcp_agentbus.handoff.intake.answer import Item
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.handoff.shells import file_of
from mcp_agentbus.work.job import Job

NOTHING = ((), -1)


@pytest.fixture
def bus(tmp_path):
    """No bus, with a user's settings."""
    return SimpleNamespace(settings=load_settings({"HOME": str(tmp_path / "home")}))


@pytest.fixture
def state(bus):
    """The folder in which processes of this user note what they have."""
    return bus.settings.state_dir


@pytest.fixture
def opened(bus, state):
    """Open a session of an agent, as its shells do it, as a server that lives or as a program."""

    @asynccontextmanager
    async def session(kind="a session", agent="coder", *, worker="", calls=2):
        me = Agent(agent, worker=worker)
        if kind == "a shell":
            async with shell_session(bus, me, state) as one:
                begin(one, calls)
                yield one
        else:
            one = Session(bus, me, naming=None if kind == "a program" else SimpleNamespace())
            begin(one, calls)
            yield one

    return session


def begin(session, calls):
    for _ in range(calls):
        session.calls.begin()


def task(hops, chain="planner"):
    return read_task().model_copy(update={"hops": hops, "chain": (chain,)})


def hold(session, hops, chain="planner"):
    held = task(hops, chain).model_copy(update={"id": f"t{hops}"})
    return session.claims.hold(Claim(held, None, read_record(), 1)).task


@pytest.mark.promise(36)
@pytest.mark.parametrize("how", ["holds", "has ended"])
@pytest.mark.parametrize(
    ("holder", "sender", "counts"),
    [
        ("a session", "a shell", True),
        ("a shell", "a session", True),
        ("a shell", "a shell", True),
        ("a session", "a session", False),
    ],
)
async def test_what_one_process_of_an_agent_has_another_sends_on_from_but_no_other_window(
    opened, how, holder, sender, counts
):
    async with opened(holder) as one:
        held = hold(one, 2)
        if how == "has ended":
            one.claims.end(held)
        async with opened(sender) as other, opened(sender, "tester") as stranger:
            assert cause(other) == ((("planner",), 2) if counts else NOTHING)
            assert cause(stranger) == NOTHING


async def test_the_deepest_counts_whoever_has_it(opened):
    async with opened() as first, opened() as second, opened("a shell") as shell:
        hold(first, 1, "a")
        hold(second, 4, "b")
        first.claims.end(hold(first, 0, "c"))

        assert [cause(each) for each in (first, second, shell)] == [
            (("a",), 1), (("b",), 4), (("b",), 4),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "calls"), [("a session", 0), ("a session", 1), ("a session", 2), ("a program", 1)]
)
@pytest.mark.parametrize("ends", [0, 1, 2])
async def test_what_a_call_of_its_own_had_at_hand_is_a_cause_for_the_next_server(
    opened, state, kind, calls, ends
):
    """A worker that does a single task is no such server: its next program has a task of its own."""
    is_left = (kind, calls) == ("a session", 1)
    async with opened(kind, calls=calls) as first:
        hold(first, 2)
        for _ in range(ends):
            first.calls.end()
        await first.close()
    async with opened() as second:
        assert cause(second) == ((("planner",), 2) if is_left else NOTHING)
    assert file_of(state, "coder").exists() is is_left


@pytest.mark.parametrize("kind", ["a shell", "a session"])
async def test_a_look_at_nothing_has_nothing_go_on_for_longer(opened, state, kind):
    file, at = file_of(state, "coder"), text.now() - timedelta(seconds=500)
    state.mkdir(parents=True)
    file.touch(0o600)
    said = {"at": at.isoformat(), "chain": ["planner"], "hops": 2}
    file.write_text(json.dumps({"ended": [said], "held": None}))
    before = file.read_bytes()
    for _ in range(2):
        async with opened(kind, calls=1) as one:
            assert cause(one) == (("planner",), 2)
            await one.close()

    assert file.read_bytes() == before


async def test_what_a_server_of_one_call_had_ended_goes_on_from_its_end(opened, state):
    async with opened(calls=1) as one:
        at = text.now() - timedelta(seconds=500)
        one.claims.recall(["planner"], 3, at)
        hold(one, 2)
        await one.close()

    assert [(each.hops, each.at == at) for each in ways_in(file_of(state, "coder")).lately] == [
        (2, False), (3, True),
    ]  # fmt: skip


@pytest.mark.parametrize("calls", [0, 1, 2])
async def test_of_what_a_server_of_one_call_reports_on_the_next_one_goes_on(opened, calls):
    async with opened(calls=calls) as first, opened() as second:
        remember(first, task(2))

        assert cause(first) == (("planner",), 2)
        assert cause(second) == (NOTHING if calls == 2 else (("planner",), 2))


@pytest.mark.parametrize("kind", ["a session", "a shell"])
@pytest.mark.parametrize("agent", ["builder", "coder"])
async def test_a_workers_program_goes_on_from_what_that_is_at_and_not_from_what_it_did_before(
    opened, kind, agent
):
    async with opened(agent="builder") as worker, opened(kind, agent, worker="builder") as program:
        worker.claims.end(hold(worker, 5))
        hold(worker, 1, "boss")
        at_work = cause(program)
        worker.claims.end(task(1, "boss"))
        outlived = cause(program)
        hold(program, 3, "asker")
        worker.claims.end(hold(worker, 2, "boss"))
        hold(worker, 2, "boss")

        assert (at_work, outlived) == ((("boss",), 1), (("planner",), 5))
        assert cause(program) == (("asker",), 3)


async def test_a_workers_handler_goes_on_from_its_own_task_whatever_is_done_beside_it(opened):
    async with opened("a shell") as shell, opened() as worker:
        shell.claims.end(hold(shell, 6))
        worker.claims.end(hold(worker, 5))
        hold(worker, 3, "beside")
        own = hold(worker, 1, "boss")

        async def handler(task):
            for inbox in ("x", "x", "y"):
                assert causes(worker, [(inbox, "t")]) == [(("boss",), 1)]
            worker.claims.let_go("t3")
            worker.claims.end(task)
            [outlived] = causes(worker, [("x", "t")])
            return f"{outlived[1]}"

        done = await Job(Item(own, "claimed")).outcome(handler, None)
        assert done.body == "6"


@pytest.mark.parametrize(
    ("noted", "ago_s", "counts"),
    [
        ("held", 7_300, (False, False)),
        ("held", 7_000, (True, False)),
        ("held", 500, (True, True)),
        ("ended", 500, (True, True)),
        ("ended", 700, (False, False)),
    ],
)
async def test_a_shell_may_hold_for_two_hours_what_no_command_has_looked_at_since(
    opened, state, noted, ago_s, counts
):
    """As while the bus is away. To others it counts for ten minutes, as what a session holds."""
    said = {"at": (text.now() - timedelta(seconds=ago_s)).isoformat(), "chain": ["planner"]}
    of_shell, of_others = (("planner",) if each else () for each in counts)
    state.mkdir(parents=True)
    for file in (file_of(state, "coder"), of_sessions(state, "tester")):
        file.touch(0o600)
        file.write_text(json.dumps({noted: said | {"hops": 2}}))

    async with opened() as one, opened("a shell") as shell, opened("a shell", "tester") as tester:
        assert cause(shell)[0] == of_shell
        assert cause(one)[0] == cause(tester)[0] == of_others
        shell.claims.end(task(0, "boss"))
        assert cause(shell)[0] == (of_shell or ("boss",))
        assert cause(one)[0] == (of_others or ("boss",))


async def test_what_a_command_has_looked_for_and_not_found_its_shell_holds_no_more(opened, state):
    async with opened("a shell") as first:
        hold(first, 2)
    file = file_of(state, "coder")
    async with opened("a shell") as second:
        before = ways_in(file).held_before
        await second.claims.find([])

        assert (before.hops, second.claims.ways.held_before) == (2, None)
    assert ways_in(file).held_before is None


async def test_what_a_shell_was_shown_of_anothers_result_is_a_cause_for_its_next_command(opened):
    async with opened("a shell") as first:
        first.claims.recall(["lead"], 2, text.now())
    async with opened("a shell") as second:
        assert cause(second) == (("lead",), 2)


async def test_to_look_for_a_cause_makes_no_file(opened, tmp_path):
    async with opened(worker="builder") as one:
        assert cause(one) == NOTHING
    assert list(tmp_path.iterdir()) == []


async def test_what_others_can_read_is_no_cause_and_what_is_noted_anew_is_private(opened, state):
    file = of_sessions(state, "coder")
    async with opened() as one, opened("a shell") as shell:
        hold(one, 2)
        file.chmod(0o644)
        assert cause(shell) == NOTHING
        hold(one, 3)
        assert cause(shell) == (("planner",), 3)
        assert [each.stat().st_mode & 0o777 for each in (file, state)] == [0o600, 0o700]


@pytest.mark.parametrize(("ago_s", "again"), [(0, False), (58, False), (62, True)])
async def test_what_is_held_is_noted_again_after_a_minute_and_the_same_not_before(
    opened, state, ago_s, again
):
    state.mkdir(parents=True)
    file, at = of_sessions(state, "coder"), text.now() - timedelta(seconds=ago_s)
    file.touch(0o600)
    file.write_text(json.dumps({"held": {"at": at.isoformat(), "chain": ["planner"], "hops": 2}}))
    before = file.read_bytes()
    async with opened() as one:
        memory = CauseMemory(file, one.claims)
        memory.recall()
        one.claims.on_way = memory.note
        hold(one, 2)
        hold(one, 1)

    assert (file.read_bytes() != before) is again


async def test_what_others_note_in_the_file_of_the_shells_leaves_what_these_hold(opened, state):
    async with opened("a shell") as shell, opened(calls=1) as one:
        held = hold(shell, 2)
        remember(one, task(1))
        await one.close()
        assert ways_in(file_of(state, "coder")).held_before.hops == 2
        shell.claims.end(held)

    assert ways_in(file_of(state, "coder")).held_before is None


async def test_a_long_file_is_made_short_with_all_that_counts(opened, state):
    file, sizes = of_sessions(state, "coder"), []
    async with opened() as one, opened("a shell") as shell:
        one.claims.end(task(4, "deep"))
        for number in range(100):
            one.claims.end(hold(one, 1, f"a{number}"))
            sizes.append(file.stat().st_size)

        assert cause(shell) == (("deep",), 4)
    assert max(sizes) < 20_000
    assert sizes[-1] < max(sizes)


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        (b"[]", "says nothing of use"),
        (b"{", "says nothing of use"),
        (b'{"ended": [{"at": 5}]}', "says nothing of use: fromisoformat"),
        (b'{"held": {"at": "2026-01-01T00:00:00Z", "chain": [], "hops": 7}}', "comes so far"),
        (None, "cannot be read"),
    ],
)
def test_a_memory_that_says_nothing_of_use_is_named_and_gone_on_without(
    tmp_path, caplog, noted, said
):
    file, claims = tmp_path / "memory", Claims(None, "coder", "session-1")
    file.write_bytes(noted) if noted else file.mkdir()
    file.chmod(0o700)
    with caplog.at_level(logging.WARNING):
        CauseMemory(file, claims).recall()

    assert claims.cause() == NOTHING
    [record] = caplog.records
    assert said in record.getMessage()
    assert str(file) in record.getMessage()


def test_a_clock_that_was_ahead_has_nothing_go_on_for_ever(tmp_path):
    file, claims = tmp_path / "memory", Claims(None, "coder", "session-1")
    claims.recall(["planner"], 2, text.now() + timedelta(days=365))
    CauseMemory(file, claims).note()

    at = json.loads(file.read_bytes())["ended"][0]["at"]
    assert at <= text.now().isoformat()


@pytest.mark.parametrize("ago_s", [500, 700])
def test_what_is_held_beside_an_end_of_long_ago_is_noted_once(tmp_path, ago_s):
    file, one = tmp_path / "memory", SimpleNamespace(claims=Claims(None, "coder", "session-1"))
    one.claims.recall(["lead"], 4, text.now() - timedelta(seconds=ago_s))
    hold(one, 1)
    memory = CauseMemory(file, one.claims)
    memory.note()
    noted = [way.hops for way in ways_in(file).lately]
    file.unlink()
    memory.note()

    assert (noted, file.exists()) == ([4, 1] if ago_s == 500 else [1], False)


def test_an_end_is_noted_once_and_what_was_recalled_is_not_noted_again(tmp_path):
    claims, file = Claims(None, "coder", "session-1"), tmp_path / "state" / "memory"
    memory = CauseMemory(file, claims)
    memory.recall()
    assert file.read_bytes() == b"{}"
    assert [each.stat().st_mode & 0o777 for each in (file, file.parent)] == [0o600, 0o700]
    claims.end(task(1))
    memory.note()
    file.unlink()
    memory.note()

    assert not file.exists()
