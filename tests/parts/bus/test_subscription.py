# SPDX-License-Identifier: Apache-2.0
"""What is heard on a subject: up to so much in a second, and after a rest from it what comes then."""

import asyncio
from types import SimpleNamespace

import pytest

from mcp_agentbus.bus import subscription
from mcp_agentbus.bus.connection import LinkLost
from mcp_agentbus.bus.subscription import Subscription

BEGUN = [("subscribe", "a.b", "group"), ("flush", 1.5)]
HANG_S = 10  # a rest is over in a moment: only a hang takes as long


class Link:
    """A connection on which it is heard; notes what it was asked, and when it was subscribed to."""

    def __init__(self, *failures, denied=False):
        self.asked, self.ats, self.failures, self.denied = [], [], list(failures), denied
        self.alive, self.hear, self.ended = True, None, asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def subscribe(self, subject, hear, group):
        self.asked.append(("subscribe", subject, group))
        self.ats.append(asyncio.get_running_loop().time())
        self.hear = hear
        return self._end

    async def _end(self):
        self.asked.append("end")
        self.ended.set()
        await self.may_end.wait()
        self.ats.append(asyncio.get_running_loop().time())

    async def flush(self, within_s):
        self.asked.append(("flush", within_s))
        if self.failures and (failure := self.failures.pop(0)):
            raise failure

    def was_denied(self, subject):
        assert subject == "a.b"
        return self.denied


class Heard:
    """A subscription that hears two messages in a second; what it has told, and what time it is."""

    def __init__(self):
        self.told, self.rested, self.at = [], asyncio.Event(), 10.0
        self.it = Subscription("a.b", self._arrived, "group", 2)

    def _arrived(self, message):
        self.told.append(message)
        if message is None:
            self.rested.set()

    async def begin(self, *failures, **options):
        """Have it begun on a new connection; return that."""
        link = Link(*failures, **options)
        await self.it.begin(link, 1.5)
        return link

    async def flooded(self, link, messages="abcd"):
        """Have so much come at once, and wait until it is heard again."""
        self.rested.clear()
        for each in messages:
            link.hear(each)
        async with asyncio.timeout(HANG_S):
            await self.rested.wait()


@pytest.fixture
def heard(monkeypatch):
    heard = Heard()
    monkeypatch.setattr(subscription, "time", SimpleNamespace(monotonic=lambda: heard.at))
    return heard


@pytest.fixture
def short(monkeypatch):
    """Have a rest take a moment, and a second as well."""
    monkeypatch.setattr(subscription, "_REST_S", 0.02)


async def test_it_is_heard_once_the_server_knows_and_ends_with_its_end(heard):
    link = await heard.begin()
    link.hear("a")
    await heard.it.end()

    assert (heard.told, link.asked) == (["a"], [*BEGUN, "end"])


@pytest.mark.parametrize("denied", [True, False])
async def test_what_the_server_forbids_is_said_to_be_forbidden(heard, denied):
    assert heard.it.is_allowed  # nobody has said otherwise yet
    await heard.begin(denied=denied)

    assert heard.it.is_allowed is not denied


async def test_what_cannot_be_begun_is_not_heard_and_needs_no_end(heard):
    link = Link(TimeoutError())
    with pytest.raises(TimeoutError):
        await heard.it.begin(link, 1.5)
    await heard.it.end()

    assert link.asked == [*BEGUN, "end"]


@pytest.mark.parametrize("began", [0.5, 10.0])
async def test_of_each_second_so_much_is_heard(heard, began):
    link, heard.at = await heard.begin(), began
    for each in "ab":
        link.hear(each)
    heard.at += 1.0
    for each in "cd":
        link.hear(each)

    assert (heard.told, link.asked) == ([*"abcd"], BEGUN)


async def test_after_more_in_a_second_there_is_a_rest_and_then_the_gap_is_told(heard, short):
    link = await heard.begin()
    for _ in range(2):
        await heard.flooded(link)
        heard.at += 1.0

    assert heard.told == ["a", "b", None] * 2
    assert link.asked == [*BEGUN, *["end", *BEGUN] * 2]
    assert link.ats[2] - link.ats[1] >= 0.02


async def test_what_comes_within_the_same_second_is_more(heard, short):
    link = await heard.begin()
    link.hear("a")
    heard.at += 0.019
    await heard.flooded(link, "bc")

    assert heard.told == ["a", "b", None]


@pytest.mark.parametrize("failure", [LinkLost(), TimeoutError()])
async def test_what_is_not_heard_again_at_once_is_tried_after_another_rest(heard, short, failure):
    link = await heard.begin(None, failure)
    await heard.flooded(link)

    assert link.asked == [*BEGUN, "end", *BEGUN, "end", *BEGUN]


async def test_on_a_connection_that_has_ended_it_is_not_begun_again(heard, short):
    link = await heard.begin()
    link.alive = False
    await heard.flooded(link)

    assert (heard.told, link.asked) == (["a", "b", None], [*BEGUN, "end"])


async def test_whoever_ends_it_in_a_rest_is_told_no_more(heard, short):
    link = await heard.begin()
    for each in "abc":
        link.hear(each)
    resting = heard.it._resting
    await heard.it.end()
    async with asyncio.timeout(HANG_S):
        await asyncio.wait([resting])

    assert (heard.told, link.asked) == (["a", "b"], [*BEGUN, "end"])


async def test_a_connection_that_was_lost_in_a_rest_leaves_nobody_deaf_after_the_next(heard, short):
    before = await heard.begin()
    for each in "abc":
        before.hear(each)
    await before.ended.wait()
    before.alive, before.failures = False, [LinkLost()]
    after = await heard.begin()  # as `Reconnecting` does, at once
    await heard.rested.wait()
    heard.at += 1.0
    await heard.flooded(after)

    assert after.asked == [*BEGUN, "end", *BEGUN]


async def test_a_connection_that_is_opened_before_it_has_ended_on_the_last_is_heard_once(heard):
    before = await heard.begin()
    before.may_end.clear()
    for each in "abc":
        before.hear(each)
    await before.ended.wait()
    after = await heard.begin()
    before.may_end.set()
    await heard.rested.wait()
    await heard.it.end()

    assert (heard.told, after.asked) == (["a", "b", None], [*BEGUN, "end"])


async def test_of_a_flood_that_comes_as_it_is_being_begun_it_rests_once_it_is(heard, short):
    """Meanwhile there is nothing to rest from but the connection before."""
    before, after = await heard.begin(), Link()
    before.alive, flush = False, after.flush

    async def floods(within_s):
        after.flush = flush
        for each in "abc":
            after.hear(each)
        if heard.it._resting:
            await asyncio.wait([heard.it._resting])
        await flush(within_s)

    after.flush = floods
    await heard.it.begin(after, 1.5)
    async with asyncio.timeout(HANG_S):
        await heard.rested.wait()
    await heard.it.end()

    assert (heard.told, after.asked) == (["a", "b", None], [*BEGUN, "end", *BEGUN, "end"])
    assert before.asked == BEGUN
