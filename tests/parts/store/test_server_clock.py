# SPDX-License-Identifier: Apache-2.0
"""How long what the server said of the time counts, and about what."""

from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.store.queries import clock

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Server:
    """Has the connection's number, and answers what time it is there."""

    def __init__(self):
        self.connections = 1
        self.asked = 0
        self.answer = NOON
        #: What goes on while its answer is on its way.
        self.on_the_way = lambda: None

    async def now(self, _, stream):
        assert stream == "AGENTBUS_TASKS"
        self.asked += 1
        self.on_the_way()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def here(monkeypatch):
    """This machine's clock, and the one that goes on by itself."""
    times = {"now": NOON, "monotonic": 1000.0}
    monkeypatch.setattr(clock.text, "now", lambda: times["now"])
    monkeypatch.setattr(clock.time, "monotonic", lambda: times["monotonic"])

    def goes_on(seconds, *, clock_s=None):
        times["monotonic"] += seconds
        times["now"] += timedelta(seconds=seconds if clock_s is None else clock_s)

    return goes_on


@pytest.fixture
def server(here, monkeypatch):
    server = Server()
    monkeypatch.setattr(clock, "server_now", server.now)
    return server


def noted(server, at, **info):
    clock.note(server, {"ts": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z", **info})


async def test_what_it_said_counts_for_a_minute(server, here):
    server.answer = NOON + 10 * MINUTE
    times = [await clock.now_about(server, NOON)]
    for seconds in (59, 1, 0):
        here(seconds)
        times.append(await clock.now_about(server, NOON))

    later = NOON + 10 * MINUTE + 59 * SECOND
    # By then it is asked again, and says the same as before.
    assert (times, server.asked) == ([server.answer, later, server.answer, server.answer], 2)


@pytest.mark.parametrize(("goes_by_s", "asked"), [(10.5, 1), (9.5, 1), (10.51, 2), (9.49, 2)])
async def test_it_is_asked_again_once_this_machines_clock_was_set(server, here, goes_by_s, asked):
    await clock.now_about(server, NOON)
    here(10, clock_s=goes_by_s)
    await clock.now_about(server, NOON)

    assert server.asked == asked


async def test_it_is_asked_again_on_another_connection(server):
    for server.connections in (1, 2):
        await clock.now_about(server, NOON)

    assert server.asked == 2


@pytest.mark.parametrize(("far", "asked"), [(DAY, 1), (DAY + SECOND, 0), (-DAY - SECOND, 0)])
async def test_what_it_said_in_passing_tells_about_what_is_days_away(server, far, asked):
    noted(server, NOON)

    assert await clock.now_about(server, NOON + far) == NOON
    assert server.asked == asked


async def test_about_what_is_days_away_it_said_enough_an_hour_ago(server, here):
    await clock.now_about(server, NOON)
    here(3600)

    assert await clock.now_about(server, NOON + 3 * DAY) == NOON + 3600 * SECOND
    assert server.asked == 1


@pytest.mark.parametrize(
    ("ahead", "about", "now"),
    [
        (59 * SECOND, NOON + 3 * DAY, NOON),
        (-59 * SECOND, NOON + 3 * DAY, NOON),
        (MINUTE, NOON + 3 * DAY, NOON + MINUTE),
        (-MINUTE, NOON + 3 * DAY, NOON - MINUTE),
        (59 * SECOND, NOON, NOON + 59 * SECOND),
    ],
)
async def test_this_machines_clock_is_as_good_where_it_is_right_by_less_than_a_minute(
    server, ahead, about, now
):
    server.answer = NOON + ahead
    await clock.now_about(server, NOON)

    assert await clock.now_about(server, about) == now


async def test_whether_a_time_has_come_its_very_moment_included(server):
    come = [await clock.has_come(server, NOON + by) for by in (-SECOND, timedelta(), SECOND)]

    assert come == [True, True, False]


async def test_of_two_that_count_the_one_that_was_asked_for_stays(server):
    await clock.now_about(server, NOON)
    noted(server, NOON + 10 * MINUTE)

    assert await clock.now_about(server, NOON) == NOON
    assert server.asked == 1


async def test_what_is_said_in_passing_is_noted_where_what_was_asked_for_counts_no_more(
    server, here
):
    await clock.now_about(server, NOON)
    here(60)
    noted(server, NOON + 10 * MINUTE)

    assert await clock.now_about(server, NOON + 3 * DAY) == NOON + 10 * MINUTE
    assert server.asked == 1


async def test_of_two_that_were_said_in_passing_the_later_one_stays_however_far_they_are_off(
    server,
):
    noted(server, NOON + 13 * HOUR)
    noted(server, NOON + 14 * HOUR)

    assert await clock.now_about(server, NOON + 5 * DAY) == NOON + 14 * HOUR
    assert server.asked == 0


async def test_what_is_days_away_is_so_by_the_servers_clock(server):
    noted(server, NOON + 13 * HOUR)

    await clock.now_about(server, NOON + 36 * HOUR)  # there in 23 hours

    assert server.asked == 1


@pytest.mark.parametrize("info", [{}, {"ts": "soon"}])
async def test_what_is_no_time_is_not_noted(server, info):
    clock.note(server, info)

    assert await clock.now_about(server, NOON + 3 * DAY) == NOON
    assert server.asked == 1


@pytest.mark.parametrize("far", [DAY + SECOND, -DAY - SECOND])
async def test_who_may_not_ask_goes_by_this_machines_clock_about_what_is_days_away(server, far):
    server.answer = NotAllowed()

    assert await clock.now_about(server, NOON + far) == NOON
    with pytest.raises(NotAllowed):
        await clock.now_about(server, NOON + DAY)


async def test_where_there_are_no_tasks_this_machines_clock_is_right(server):
    server.answer = ApiError(NO_SUCH_STREAM)

    assert await clock.now_about(server, NOON) == NOON
    assert not clock._told.get(server)


@pytest.mark.parametrize(
    ("set_by_s", "ahead_s", "then_s"),
    [
        (2, 0, 0),  # its clock and this one are the same, as far as anybody knows
        (2, -1, 0),
        (2, 1, 1),
        (2, -3, -3),
        (92, -92, -92),  # this one was set meanwhile
    ],
)
async def test_an_answer_that_was_long_on_its_way_says_nothing_of_clocks_that_may_agree(
    server, here, set_by_s, ahead_s, then_s
):
    """It was 2 s on its way: that this machine's clock is 1 s ahead of what it says is no wonder."""
    server.answer = NOON + (set_by_s + ahead_s) * SECOND
    server.on_the_way = lambda: here(2, clock_s=set_by_s)
    at = await clock.now_about(server, NOON)

    assert at == NOON + (set_by_s + then_s) * SECOND
    assert (await clock.now_about(server, NOON), server.asked) == (at, 1)
