# SPDX-License-Identifier: Apache-2.0
"""When a gate says that it answers: while each account that it knows has a desk that is open."""

import asyncio
import errno
from types import SimpleNamespace
from typing import ClassVar

import pytest

from mcp_agentbus.gate import gate as module
from mcp_agentbus.gate.book import Book, Standing
from mcp_agentbus.gate.gate import Gate


class Passage:
    """A connection; nothing is said on it."""

    opened: ClassVar = []

    @classmethod
    async def open(cls, _):
        passage = cls()
        passage.ended = asyncio.Event()
        cls.opened.append(passage)
        return passage

    def hear(self, *_):
        """Hears nothing."""

    async def flush(self):
        """Has said nothing."""

    async def close(self):
        self.ended.set()


async def turns():
    """Let all that can go on do so."""
    for _ in range(20):
        turn = asyncio.Event()
        asyncio.get_running_loop().call_soon(turn.set)
        await turn.wait()


@pytest.fixture
def gate(monkeypatch):
    monkeypatch.setattr(module, "Passage", Passage)
    monkeypatch.setattr(module, "AccountDesk", lambda *_: SimpleNamespace(heard=None))
    monkeypatch.setattr(Passage, "opened", [])
    return Gate(None)


async def test_it_answers_no_more_while_a_desk_is_not_open_or_an_account_has_none(gate):
    book = Book(accounts={"laptop": Standing(frozenset())})
    keeper = SimpleNamespace(book=book, changed=asyncio.Event())
    keeping = asyncio.create_task(gate._keep_desks(None, keeper, asyncio.Event()))
    await turns()
    assert gate.answers.is_set()

    Passage.opened[0].ended.set()
    await turns()
    assert not gate.answers.is_set()

    gate._open.add("laptop")
    gate._tell()
    assert gate.answers.is_set()
    book.note_account("vps", Standing(frozenset()))
    gate._opening = asyncio.Semaphore(0)  # none is opened just now
    keeper.changed.set()
    await turns()
    assert not gate.answers.is_set()
    keeping.cancel()
    await gate._end_desks()


async def test_one_that_ends_before_all_its_desks_are_open_does_not_say_that_it_answers(gate):
    book = Book(accounts={name: Standing(frozenset()) for name in ("laptop", "vps")})
    keeper = SimpleNamespace(book=book, changed=asyncio.Event())
    keeping = asyncio.create_task(gate._keep_desks(None, keeper, asyncio.Event()))
    await turns()
    gate._open.discard("vps")
    gate._tell()
    assert not gate.answers.is_set()

    keeping.cancel()
    await gate._end_desks()

    assert not gate.answers.is_set()


async def test_a_connection_that_ends_by_itself_is_opened_again_after_a_pause(gate, monkeypatch):
    answered, pauses = [], []

    async def answer(_):
        answered.append(gate.answers.set())
        assert len(answered) <= 2, "it goes round and round"

    async def pause(seconds):
        pauses.append((seconds, gate.answers.is_set()))
        if len(pauses) == 2:
            raise asyncio.CancelledError

    monkeypatch.setattr(gate, "_answer", answer)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=pause))
    with pytest.raises(asyncio.CancelledError):
        await gate._answer_always(None)

    assert (len(answered), pauses) == (2, [(module._PAUSE_S, False)] * 2)


async def test_one_that_the_system_gives_no_thread_tries_again_and_says_so(
    gate, monkeypatch, caplog
):
    refused, again = [OSError(errno.EAGAIN, "no more threads are to be had")], asyncio.Event()

    async def answer(_):
        if refused:
            raise refused.pop()
        again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "_PAUSE_S", 0)
    monkeypatch.setattr(gate, "_answer", answer)
    always = asyncio.create_task(gate._answer_always(None))
    async with asyncio.timeout(30):  # only a failure takes as long
        await asyncio.wait(
            {always, asyncio.create_task(again.wait())}, return_when=asyncio.FIRST_COMPLETED
        )

    assert again.is_set()
    assert "no more threads are to be had" in caplog.text
    always.cancel()
