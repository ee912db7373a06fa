# SPDX-License-Identifier: Apache-2.0
"""The gate's process: answers what each account asks, until it is told to end.

    stop = asyncio.Event()
    await Gate(settings).run(stop)

Beside each server of a bus one runs, as whoever may say all in the account that has the streams; of
all gates one answers each request. What an account may ask `rules` says. Nobody's names, bodies or
headers are logged.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from mcp_agentbus.bus.address import find_servers
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import BUSY, GATE
from mcp_agentbus.bus.passing.passage import Passage, Passed
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.aio import in_background, in_thread, part
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.shared.gate import head, rules, verdict
from mcp_agentbus.shared.gate.book import Keeper
from mcp_agentbus.shared.gate.forward import Caller, Forward
from mcp_agentbus.shared.gate.quota import Quota
from mcp_agentbus.shared.gate.signals import Signals
from mcp_agentbus.shared.gate.upkeep import keep_up
from mcp_agentbus.shared.gate.verdict import Asked, Refusal, Say, Verdict
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.streams import ensure_streams
from mcp_agentbus.store.subjects import RESULTS, TASKS

_GROUP: Final = "gate"
# Between two tries to be at the bus, in seconds.
_PAUSE_S: Final = 0.5
# What takes more than one request of the gate's own; of one account so many at a time.
_SLOW_MAX: Final = 16
# Stored messages in one answer, each of which may have 512 KiB.
_PAGE: Final = 100
# One who is answered by the server has such a reply; nobody else is.
_REPLY: Final = "_R_."


class Gate:
    """Answers for one server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        #: Set while it answers.
        self.answers = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until told to stop; a bus that is away is waited for.

        Raises:
            BadSetup, NotAllowed: what opens the bus does not.
        """
        async with Bus(self._settings) as bus:
            while not stop.is_set():
                try:
                    await self._answer(bus, stop)
                except AgentbusError:
                    await _either(stop, _PAUSE_S)
                finally:
                    self.answers.clear()

    async def _answer(self, bus: Bus, stop: asyncio.Event) -> None:
        """Answer as long as there is a connection."""
        await ensure_streams(bus)
        servers = await in_thread(find_servers, self._settings, may_start=False)
        passage = await Passage.open(servers[0])
        try:
            async with Keeper(bus) as keeper:
                desk = Desk(bus, keeper, passage)
                keeping_up = in_background(keep_up(bus, desk.missed), "a gate's upkeep")
                passage.hear(f"{GATE}.*.>", desk.heard, _GROUP)
                Signals(keeper, passage)
                self.answers.set()
                ends = [part(each.wait()) for each in (stop, passage.ended)]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in (*ends, keeping_up):
                    task.cancel()
        finally:
            await passage.close()


async def _either(stop: asyncio.Event, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await stop.wait()
    except TimeoutError:
        pass


class Desk:
    """Where what accounts ask comes in, on one connection."""

    def __init__(self, bus: Bus, keeper: Keeper, passage: Passage) -> None:
        self._bus, self._keeper, self._passage = bus, keeper, passage
        self._forward = Forward(passage)
        self._quota = Quota()
        self._slow: dict[str, int] = {}

    @property
    def missed(self) -> asyncio.Event:
        """Set where nobody on the bus takes what an account says."""
        return self._forward.missed

    def heard(self, message: Passed) -> None:
        """Do what an account asks, or refuse it."""
        account, _, subject = message.subject.removeprefix(f"{GATE}.").partition(".")
        reply = message.reply if message.reply.startswith(_REPLY) else ""
        caller = Caller(account, reply)
        if self._forward.is_busy(account):
            self._forward.refuse(caller, BUSY)
            return
        headers = head.read(message.head) if message.head else {}
        asked = Asked(account, subject, headers, message.data, wants_answer=bool(reply))
        book = self._keeper.book
        if not book.is_in(account):
            self._later(caller, self._looked_up(caller, asked, Refusal("cut-off")))
            return
        decided = rules.decide(asked, book)
        if isinstance(decided, Refusal) and decided.about:
            self._later(caller, self._looked_up(caller, asked, decided))
        else:
            self._carry_out(caller, decided)

    async def _looked_up(self, caller: Caller, asked: Asked, refusal: Refusal) -> None:
        """Decide again by what is known now."""
        is_out = refusal.code == "cut-off"
        await self._keeper.look_up(refusal.about, caller.account if is_out else "")
        book = self._keeper.book
        if book.is_in(caller.account):
            self._carry_out(caller, rules.decide(asked, book))
        else:
            self._forward.refuse(caller, "cut-off")

    def _carry_out(self, caller: Caller, decided: Verdict) -> None:
        forward = self._forward
        match decided:
            case Refusal(code, more):
                forward.refuse(caller, code, more)
            case Say():
                self._say(caller, decided)
            case verdict.Pull(stream, consumer, batch):
                forward.pull(caller, stream, consumer, batch)
            case verdict.Read(stream, subject, request):
                may_read = partial(self._may_read, caller.account, stream)
                if subject:
                    forward.last(caller, stream, subject, may_read)
                else:
                    forward.many(caller, stream, request, may_read)
            case verdict.Event(say):
                forward.event(caller, say.subject, say.data)
            case _:
                self._later(caller, self._asked_before(caller, decided))

    async def _asked_before(self, caller: Caller, decided: verdict.Later) -> None:
        """Carry out what something else is to be asked before."""
        match decided:
            case verdict.Stored():
                await self._if_stored(caller, decided)
            case verdict.Copied():
                await self._if_copied(caller, decided)
            case verdict.Count():
                await self._count(caller, decided)
            case verdict.Names(subject):
                await self._names(caller, subject)
            case verdict.Delete():
                await self._delete(caller, decided)

    def _say(self, caller: Caller, say: Say) -> None:
        quota, size = self._quota, len(say.data)
        may_send = not say.sends or quota.may_send(caller.account, size)
        if may_send and (not say.session or quota.may_live(caller.account, say.session)):
            self._forward.once(caller, say.subject, say.data, head.made(say.headers))
        else:
            self._forward.refuse(caller, "too-many")

    def _later(self, caller: Caller, work: Coroutine[Any, Any, None]) -> None:
        """Begin what takes requests of the gate's own, unless too much of that is under way."""
        under_way = self._slow.get(caller.account, 0)
        if under_way >= _SLOW_MAX:
            work.close()
            self._forward.refuse(caller, BUSY)
            return
        self._slow[caller.account] = under_way + 1
        in_background(self._begun(caller, work), "an account's request")

    async def _begun(self, caller: Caller, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except AgentbusError:  # the bus is away, which the account sees for itself
            self._forward.refuse(caller, BUSY)
        finally:
            self._slow[caller.account] -= 1

    def _may_read(self, account: str, stream: str, subject: str, data: bytes) -> bool:
        book = self._keeper.book
        if rules.may_read(account, stream, subject, book):
            return True
        # Who is to get a copy of a result may see who asked for it.
        is_kept = stream == RESULTS and subjects.parts(subject).kind == "sent"
        return is_kept and book.is_own(account, verdict.field_of(data, "reply_to"))

    async def _if_stored(self, caller: Caller, wanted: verdict.Stored) -> None:
        async for page in self._bus.stored(wanted.stream, wanted.subject, page=_PAGE):
            if any(each.data == wanted.say.data for each in page):
                self._say(caller, wanted.say)
                return
        self._forward.refuse(caller, "not-yours")

    async def _if_copied(self, caller: Caller, wanted: verdict.Copied) -> None:
        sent = await self._bus.last(RESULTS, wanted.sent)
        if sent and verdict.field_of(sent.data, "reply_to") == wanted.reply_to:
            self._say(caller, wanted.say)
        else:
            self._forward.refuse(caller, "not-yours")

    async def _names(self, caller: Caller, subject: str) -> None:
        answer = await self._bus.api("STREAM.NAMES", {"subject": subject})
        ours = [name for name in answer.get("streams") or [] if name in streams.STREAMS]
        self._forward.answer(caller, _dump({**answer, "streams": ours, "total": len(ours)}))

    async def _delete(self, caller: Caller, wanted: verdict.Delete) -> None:
        stored = await self._bus.many(wanted.stream, {"seq": wanted.seq, "batch": 1})
        is_own = any(
            each.seq == wanted.seq
            and rules.may_read(caller.account, wanted.stream, each.subject, self._keeper.book)
            for each in stored
        )
        if stored and not is_own:
            self._forward.refuse(caller, "not-yours")
            return
        call = f"$JS.API.STREAM.MSG.DELETE.{wanted.stream}"
        self._forward.once(caller, call, _dump({"seq": wanted.seq}))

    async def _count(self, caller: Caller, wanted: verdict.Count) -> None:
        counts: dict[str, int] = {}
        while True:  # the server tells 100,000 at a time
            asked = {"subjects_filter": wanted.filter, "offset": len(counts)}
            info = await self._bus.api(f"STREAM.INFO.{wanted.stream}", asked)
            page = info["state"].get("subjects") or {}
            counts.update(page)
            if not page or len(counts) >= int(info.get("total", 0)):
                break
        told: dict[str, int] = {}
        for subject, count in counts.items():
            shown = subject
            if not rules.may_read(caller.account, wanted.stream, subject, self._keeper.book):
                if wanted.stream != TASKS:
                    continue
                shown = f"{subject.rpartition('.')[0]}.-"
            told[shown] = told.get(shown, 0) + count
        info["state"]["subjects"] = told
        self._forward.answer(caller, _dump({**info, "total": len(told), "offset": 0}))


def _dump(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
