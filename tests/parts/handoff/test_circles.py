# SPDX-License-Identifier: Apache-2.0
"""Every circle of sessions that live comes to an end, and steady work that comes back does not."""

import itertools
from types import SimpleNamespace

import pytest
from messages import read_record, read_task

from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.dispatch.memory import causes
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.task import HOPS_MAX

NUMBERS = itertools.count()


@pytest.fixture
def players(tmp_path):
    """Sessions of three agents, on a machine each."""
    names = ("a", "b", "c")
    homes = [load_settings({"HOME": str(tmp_path / name)}) for name in names]
    buses = [SimpleNamespace(settings=settings) for settings in homes]
    return [Session(bus, Agent(name)) for bus, name in zip(buses, names, strict=True)]


def fresh(hops=0, **said):
    task = read_task(id=f"t{next(NUMBERS)}")
    return task.model_copy(update={"hops": hops, "chain": ("boss",), **said})


def take(session, task):
    return session.claims.hold(Claim(task, None, read_record(), 1)).task


def sent(session, to):
    """Return what a session sends to another one; None: it is refused."""
    [(_, hops)] = causes(session, [(to.me.id, f"s{next(NUMBERS)}")])
    return fresh(hops + 1) if hops < HOPS_MAX else None


def ends_before(session, task):
    session.claims.end(task)


def gives_back_before(session, task):
    session.claims.let_go(task.id)


def holds(session, task):
    pass


def alone(session, number):
    pass


def another_held(session, number):
    if number < 3:
        take(session, fresh())


def others_ended(session, number):
    session.claims.end(take(session, fresh()))


def words(session, number):
    take(session, fresh(expect="nothing"))


@pytest.mark.promise(36)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("then", [holds, ends_before, gives_back_before])
@pytest.mark.parametrize("beside", [alone, another_held, others_ended, words])
def test_a_ball_that_is_handed_round_comes_to_rest(players, count, then, beside):
    ball, rounds = fresh(), 0
    while ball:
        me, to = players[rounds % count], players[(rounds + 1) % count]
        beside(me, rounds)
        take(me, ball)
        then(me, ball)
        ball, before = sent(me, to), ball
        me.claims.end(before)
        rounds += 1

        assert rounds < 5 * HOPS_MAX


@pytest.mark.parametrize("at_once", [1, 3])
def test_who_hands_on_what_comes_and_is_sent_something_back_each_time_is_not_refused(
    players, at_once
):
    """As a router does, every few minutes; however much of it is at hand at the same time."""
    router, worker, _ = players
    back = []
    for _ in range(20):
        mine = [take(router, task) for task in [fresh() for _ in range(at_once)] + back]
        orders = [take(worker, sent(router, worker)) for _ in range(at_once)]
        back = [sent(worker, router) for _ in orders]
        for session, tasks in ((router, mine), (worker, orders)):
            for task in tasks:
                session.claims.end(task)

        assert {task.hops for task in orders} == {1}
        assert {task.hops for task in back} == {2}


def test_of_what_a_call_sends_to_several_each_goes_on_from_what_none_there_goes_on_from(players):
    session = players[0]
    for hops in (1, 3):
        take(session, fresh(hops))
    first, again = (causes(session, [("b", one), ("c", two)]) for one, two in ("xy", "zy"))

    assert [[hops for _, hops in each] for each in (first, again)] == [[1, 1], [3, 1]]
    assert causes(session, [("b", "w")])[0][1] == 3
