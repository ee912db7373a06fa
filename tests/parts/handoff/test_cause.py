# SPDX-License-Identifier: Apache-2.0
"""What a session of one call goes on from: by the file of its agent, and of its worker's."""

import logging
from types import SimpleNamespace

import pytest
from messages import read_task

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.call import Calls
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.sending.memory import CauseMemory, cause, remember


@pytest.fixture
def opened(tmp_path):
    """Open a session of an agent, on no bus, in this test's folder."""

    def session(agent, *, worker="", leased=False):
        bus = SimpleNamespace(settings=SimpleNamespace(state_dir=tmp_path / "state"))
        me, claims = Agent(agent, worker=worker), Claims(bus, agent, "session-1")
        session = SimpleNamespace(bus=bus, me=me, claims=claims, leased=leased, calls=Calls())
        session.calls.begin()
        return session

    return session


def task(hops, chain="planner"):
    return read_task().model_copy(update={"hops": hops, "chain": (chain,)})


def test_what_a_call_of_its_own_reported_on_is_the_cause_for_the_next_call_alone(opened):
    remember(opened("coder"), task(2))
    goes_on = opened("coder")
    goes_on.calls.begin()

    assert cause(opened("coder")) == (("planner",), 2)
    assert cause(goes_on) == cause(opened("coder", leased=True)) == ((), -1)


def test_what_a_session_has_ended_itself_goes_before_what_is_noted(opened):
    remember(opened("coder"), task(3))
    session = opened("coder")
    session.claims.end(task(0))

    assert cause(session) == (("planner",), 0)


@pytest.mark.parametrize(("own", "goes_on_from"), [(1, 3), (4, 4)])
def test_in_a_workers_program_it_is_at_least_what_that_is_at(opened, own, goes_on_from):
    remember(opened("coder"), task(3))
    remember(opened("asker"), task(own, "boss"))

    assert cause(opened("asker", worker="coder"))[1] == goes_on_from
    assert cause(opened("asker"))[1] == own


def test_of_an_agent_that_has_noted_nothing_no_file_is_made(opened, tmp_path):
    assert cause(opened("asker", worker="coder")) == ((), -1)
    assert list(tmp_path.iterdir()) == []


def test_a_shells_own_end_is_noted_by_its_memory_alone(opened, tmp_path):
    remember(opened("coder", leased=True), task(2))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("noted", "said"),
    [(b"[]", "says nothing of use"), (b"{", "says nothing of use"), (None, "cannot be read")],
)
def test_a_memory_that_says_nothing_of_use_is_named_and_gone_on_without(
    opened, tmp_path, caplog, noted, said
):
    file, claims = tmp_path / "memory", opened("coder").claims
    file.write_bytes(noted) if noted else file.mkdir()
    file.chmod(0o700)
    with caplog.at_level(logging.WARNING):
        CauseMemory(file, claims).recall()

    assert claims.cause() == ((), -1)
    [record] = caplog.records
    assert said in record.getMessage()
    assert str(file) in record.getMessage()


def test_an_end_is_noted_once_and_what_was_recalled_is_not_noted_again(opened, tmp_path):
    claims, file = opened("coder").claims, tmp_path / "state" / "memory"
    memory = CauseMemory(file, claims)
    memory.recall()
    assert file.read_bytes() == b"{}"
    assert [each.stat().st_mode & 0o777 for each in (file, file.parent)] == [0o600, 0o700]
    claims.end(task(1))
    memory.note()
    file.unlink()
    memory.note()

    assert not file.exists()
