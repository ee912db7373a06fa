# SPDX-License-Identifier: Apache-2.0
"""Work beside other work: what fails in the background is seen, and a thread holds up nobody."""

import asyncio
import gc
import logging
import threading

import pytest

from mcp_agentbus.core import aio


async def failing():
    raise KeyError("a peer's text")


async def test_what_fails_in_the_background_is_logged_and_told_without_its_text(caplog):
    before = len(aio.failures)

    await asyncio.wait([aio.in_background(failing(), "desk of coder")])

    assert list(aio.failures)[before:] == ["desk of coder: KeyError"]
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "desk of coder failed")


async def test_of_what_fails_in_this_program_the_place_is_kept():
    """A listener that a session has started has no log."""
    reads = aio.by_portions(lambda _: 1 / 0, [1])

    await asyncio.wait([aio.in_background(reads, "desk of coder")])

    name, line = aio.failures[-1].rsplit(":", 1)
    assert name == "desk of coder: ZeroDivisionError at mcp_agentbus/core/aio.py"
    assert line.isdecimal()


async def test_what_is_cancelled_in_the_background_has_not_failed():
    before = list(aio.failures)
    forever = aio.in_background(asyncio.Event().wait(), "keeper")
    forever.cancel()
    await asyncio.wait([forever])

    assert list(aio.failures) == before


async def test_what_a_caller_waits_for_fails_there_alone():
    before = list(aio.failures)
    with pytest.raises(KeyError):
        await aio.part(failing())

    assert list(aio.failures) == before


async def test_a_thread_returns_and_raises_where_it_is_waited_for():
    assert await aio.in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await aio.in_thread(divmod, 7, 0)


async def test_whoever_gives_up_on_a_thread_leaves_it_behind():
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        go_on.wait()
        done.set()

    waits = asyncio.create_task(aio.in_thread(work))
    await asyncio.to_thread(begun.wait, 60)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    go_on.set()

    assert await asyncio.to_thread(done.wait, 60)


async def test_who_waits_for_several_may_be_cancelled_before_any_has_begun():
    async def work():
        """Do nothing."""

    waiting = asyncio.create_task(aio.both(aio.together(work(), work()), aio.both(work(), work())))
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    gc.collect()  # of work that nobody has begun Python complains then


async def test_of_works_that_are_done_once_each_is_shared_and_done_again_if_it_failed():
    once, begun, fails = aio.Once(), [], [KeyError(), None]

    async def work():
        begun.append(len(begun))
        if error := fails.pop(0):
            raise error

    failed = await asyncio.gather(*(once.do("a", work) for _ in range(2)), return_exceptions=True)
    assert ([type(each) for each in failed], "a" in once, bool(once)) == (
        [KeyError] * 2, False, False,
    )  # fmt: skip
    await once.do("a", work)
    await once.do("a", pytest.fail)

    assert (begun, "a" in once, "b" in once, bool(once)) == ([0, 1], True, False, True)
    once.forget()
    assert not once


async def test_a_work_that_is_done_once_outlives_who_asked_for_it_and_not_its_owner():
    once, go_on = aio.Once(), asyncio.Event()
    asks, shares = (asyncio.create_task(once.do("a", go_on.wait)) for _ in range(2))
    await asyncio.wait([asks], timeout=0)
    asks.cancel()
    await asyncio.wait([asks])
    assert not shares.done()

    [under_way] = once.cancelled()
    await asyncio.wait([under_way, shares])

    assert (under_way.cancelled(), shares.cancelled()) == (True, True)
    assert (once.cancelled(), "a" in once) == ((), False)
