# SPDX-License-Identifier: Apache-2.0
"""A thread that the system does not give is told of as what it refuses, or asked for again."""

import errno
import queue

import pytest
import threadless

from mcp_agentbus.core import aio, files
from mcp_agentbus.core.children import threads


async def test_where_none_is_to_be_had_that_is_an_error_of_the_system(monkeypatch):
    threadless.for_tries(monkeypatch, 1)

    with pytest.raises(OSError, match="no more threads") as told:
        await aio.in_thread(divmod, 7, 2)

    assert told.value.errno == errno.EAGAIN
    assert await aio.in_thread(divmod, 7, 2) == (3, 1)


def test_who_is_patient_has_one_once_there_is_one(monkeypatch):
    monkeypatch.setattr(threads, "_AGAIN_S", 0)
    threadless.for_tries(monkeypatch, 2)
    done = queue.Queue()

    thread = threads.begin(done.put, "it", name="agentbus-put", patient_s=60)

    assert (done.get(timeout=60), thread.name, thread.daemon) == ("it", "agentbus-put", True)


def test_where_none_is_to_be_had_no_link_is_followed(monkeypatch):
    threadless.for_tries(monkeypatch, 1)

    assert files.led_to(["/"], 60) == {}
