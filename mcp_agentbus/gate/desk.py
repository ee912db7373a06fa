# SPDX-License-Identifier: Apache-2.0
"""Where what one account asks comes in, on a connection of its own, so that no other waits for it.

Nobody's names, bodies or headers are logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from mcp_agentbus.bus.login.account import BUSY, GATE, LEAVE
from mcp_agentbus.bus.raw import head
from mcp_agentbus.bus.raw.passage import Passage, Passed
from mcp_agentbus.core.aio import in_background, in_thread, note_failure
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.gate import rules, speech, verdict
from mcp_agentbus.gate.forward import Forward
from mcp_agentbus.gate.keeper import Keeper
from mcp_agentbus.gate.proof import copies
from mcp_agentbus.gate.quota import Quota
from mcp_agentbus.gate.verdict import H_ACCOUNT, Refusal, Request, Say, Verdict
from mcp_agentbus.store import streams, subjects, tasks
from mcp_agentbus.store.queries.counted import counted
from mcp_agentbus.store.subjects import DEAD, PRESENCE, RESULTS, SCHEDULE, TASKS

# What something else is asked before: of one account so much at a time.
_SLOW_MAX: Final = 16
# One who is answered by the server has such a reply; nobody else is.
_REPLY: Final = "_R_."
_API: Final = "$JS.API"
# What a message has besides when it is passed on: its own headers, the server's and the gate's.
_MORE_BYTES: Final = 16 << 10
_HEAD_MAX_BYTES: Final = 8 << 10
# In one answer so many counts: each is of a subject, of some hundred bytes.
_COUNTED: Final = 4_000
# What a server says of a message that it does not take, and of a stream that takes no more.
_TOO_LARGE: Final = (
    b'{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}'
)
_FULL: Final = b'{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}'
# As the server says it.
_PURGED: Final = (
    b'{"type":"io.nats.jetstream.api.v1.stream_purge_response","success":true,"purged":1}'
)
_NO_SUCH_MESSAGE: Final = {"code": 400, "err_code": 10043, "description": "no message found"}


class AccountDesk:
    """What one account asks, and what is done about it."""

    def __init__(
        self, account: str, keeper: Keeper, quota: Quota, passage: Passage, missed: asyncio.Event
    ) -> None:
        self._account, self._keeper, self._quota = account, keeper, quota
        self._passage = passage
        self._forward = Forward(passage, missed)
        self._slow = 0
        self._counting = asyncio.Lock()
        self._cutting_off: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cutting_off.set_result(None)
        self._prefix = f"{GATE}.{account}."

    def heard(self, message: Passed) -> None:
        """Do what the account asks, or refuse it."""
        reply = message.reply if message.reply.startswith(_REPLY) else ""
        if rest_s := self._quota.rest_s(self._account, len(message.head) + len(message.data)):
            self._passage.rest(rest_s)
            self._look_after_flood()
        if self._forward.is_busy:
            self._forward.refuse(reply, BUSY)
            return
        if len(message.head) > _HEAD_MAX_BYTES:
            self._forward.answer(reply, _TOO_LARGE)
            return
        headers = head.read(message.head) if message.head else {}
        subject = message.subject.removeprefix(self._prefix)
        if subject == LEAVE:
            return  # whoever keeps the door answers
        asked = Request(self._account, subject, headers, message.data, wants_answer=bool(reply))
        book = self._keeper.book
        if not book.is_in(self._account):
            self._later(reply, self._looked_up(reply, asked, Refusal("cut-off")))
            return
        decided = rules.decide(asked, book)
        if isinstance(decided, Refusal) and decided.about:
            self._later(reply, self._looked_up(reply, asked, decided))
        else:
            self._carry_out(reply, decided)

    def _look_after_flood(self) -> None:
        """Have the account cut off if it floods the bus."""
        if self._quota.floods(self._account) and self._cutting_off.done():
            self._cutting_off = in_background(self._cut_off(), "an account to be cut off")

    async def _cut_off(self) -> None:
        with suppress(AgentbusError):  # what it asks next has it tried again
            await self._keeper.cut_off(self._account)

    async def _looked_up(self, reply: str, asked: Request, refusal: Refusal) -> None:
        """Decide again by what is known now."""
        is_out = refusal.code == "cut-off"
        await self._keeper.look_up(refusal.about, self._account if is_out else "")
        book = self._keeper.book
        if book.is_in(self._account):
            self._carry_out(reply, rules.decide(asked, book))
        else:
            self._forward.refuse(reply, "cut-off")

    def _carry_out(self, reply: str, decided: Verdict) -> None:
        forward = self._forward
        match decided:
            case Refusal("not-accepted", more, about):
                self._passage.say(subjects.refused_subject(*about), b"")
                forward.refuse(reply, "not-accepted", more)
            case Refusal(code, more):
                forward.refuse(reply, code, more)
            case Say():
                self._say(reply, decided)
            case verdict.Pull(stream, consumer, batch):
                forward.pull(reply, stream, consumer, batch)
            case verdict.Read(stream, subject, request):
                may_read = partial(self._may_read, stream)
                if subject:
                    forward.last(reply, stream, subject, may_read)
                else:
                    forward.many(reply, stream, request, may_read, self._left_out)
            case verdict.Event(say):
                forward.event(reply, say.subject, say.data)
            case _:
                self._later(reply, self._asked_before(reply, decided))

    async def _asked_before(self, reply: str, decided: verdict.Later) -> None:
        """Carry out what something else is to be asked before."""
        match decided:
            case verdict.Stored():
                await self._if_stored(reply, decided)
            case verdict.Scheduled(say):
                await self._if_room(reply, say)
            case verdict.Copied():
                await self._if_copied(reply, decided)
            case verdict.Count():
                await self._count(reply, decided)
            case verdict.Names(subject):
                await self._names(reply, subject)
            case verdict.Kept(subject, data):
                answer = await self._forward.ask(subject, data)
                is_kept = "seq" in _object(answer)
                self._forward.answer(reply, _PURGED if is_kept else answer)
            case verdict.Delete():
                await self._delete(reply, decided)

    def _say(self, reply: str, say: Say) -> None:
        if not self._is_refused(reply, say):
            self._forward.once(reply, say.subject, say.data, head.made(say.headers))

    def _is_refused(self, reply: str, say: Say) -> bool:
        """Tell whether it is not to be said, having answered that; else it is counted."""
        quota, account = self._quota, self._account
        if self._is_too_large(say):
            self._forward.answer(reply, _TOO_LARGE)
        elif say.reaches and not quota.may_reach(account, say.reaches):
            self._forward.refuse(reply, "too-wide")
        elif not self._may(say):
            # Of what is set aside nobody sends less by waiting a minute.
            self._forward.refuse(reply, "no-room" if say.stores == DEAD else "too-many")
        elif not quota.has_room(account, say.stores, _size(say)):
            self._forward.refuse(reply, "no-room")
        else:
            return False
        return True

    def _is_too_large(self, say: Say) -> bool:
        """Tell whether what is stored so could not be passed on with what the gate says of it."""
        return len(say.data) > self._passage.most - _MORE_BYTES

    def _may(self, say: Say) -> bool:
        """Tell whether the account has so much left of what it may do, and count it."""
        quota, account = self._quota, self._account
        may_send = not say.sends or quota.may_send(account)
        may_store = not say.stores or quota.may_store(account, say.stores, _size(say))
        may_live = not say.session or quota.may_live(account, say.session, len(say.data))
        may_make = not say.makes or quota.may_make(account, say.makes)
        return may_send and may_store and may_live and may_make

    def _left_out(self, size: int) -> None:
        """Have an account that reads widely wait for as long as that takes others."""
        if rest_s := self._quota.scan_rest_s(self._account, size):
            self._passage.rest(rest_s)

    async def _if_room(self, reply: str, say: Say) -> None:
        if self._is_refused(reply, say):
            return
        # Of all that go through here, so that none is counted without the one before.
        async with self._quota.scheduling:
            info = _object(await self._forward.ask(f"{_API}.STREAM.INFO.{SCHEDULE}", b""))
            if "config" not in info or not tasks.schedule_has_room(info, len(say.data)):
                self._forward.answer(reply, _FULL)
                return
            await self._forward.pass_answer(reply, say.subject, say.data, head.made(say.headers))

    def _later(self, reply: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin what takes requests of the gate's own, unless too much of that is under way."""
        if self._slow >= _SLOW_MAX:
            work.close()
            self._forward.refuse(reply, BUSY)
            return
        self._slow += 1
        in_background(self._begun(reply, work), "an account's request")

    async def _begun(self, reply: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (AgentbusError, TimeoutError):  # the bus is away, which the account sees for itself
            self._forward.refuse(reply, BUSY)
        except Exception as error:  # noqa: BLE001  # what it says may have been somebody's here
            self._forward.refuse(reply, BUSY)
            where = RuntimeError(type(error).__name__).with_traceback(error.__traceback__)
            note_failure("an account's request", where)
        finally:
            self._slow -= 1

    def _may_read(self, stream: str, subject: str, stored: Passed) -> bool:
        book = self._keeper.book
        by = head.read(stored.head).get(H_ACCOUNT, "") if stream == PRESENCE else ""
        if rules.may_read(self._account, stream, subject, book, by):
            return True
        # Who is to get a copy of a result may see who asked for it, and that one the copy.
        kind = subjects.parts(subject).kind if stream == RESULTS else ""
        other = {"sent": "reply_to", "results": "asked_by"}.get(kind)
        return other is not None and book.is_own(
            self._account, verdict.field_of(stored.data, other)
        )

    async def _if_stored(self, reply: str, wanted: verdict.Stored) -> None:
        stored = await self._forward.read(wanted.stream, wanted.seq)
        if (stored.subject, stored.data) == (wanted.subject, wanted.say.data):
            headers = speech.moved(wanted, head.read(stored.head))
            self._say(reply, replace(wanted.say, headers=headers))
        else:
            self._forward.refuse(reply, "not-yours")

    async def _if_copied(self, reply: str, wanted: verdict.Copied) -> None:
        keeper = self._keeper
        if await copies.may_copy(keeper.bus, wanted, keeper.book, self._left_out):
            self._say(reply, wanted.say)
        else:
            self._forward.refuse(reply, "not-yours")

    async def _names(self, reply: str, subject: str) -> None:
        asked = verdict.dumped({"subject": subject})
        answer = _object(await self._forward.ask(f"{_API}.STREAM.NAMES", asked))
        ours = [name for name in answer.get("streams") or [] if name in streams.STREAMS]
        self._forward.answer(reply, verdict.dumped({**answer, "streams": ours, "total": len(ours)}))

    async def _delete(self, reply: str, wanted: verdict.Delete) -> None:
        """Delete a message that is own.

        One that is not there is not asked for either: its number may be another's task's by then.
        """
        stored = await self._forward.read(wanted.stream, wanted.seq)
        if not stored.subject:
            self._forward.answer(
                reply, verdict.dumped({"success": False, "error": _NO_SUCH_MESSAGE})
            )
            return
        if not self._may_read(wanted.stream, stored.subject, stored._replace(data=b"")):
            self._forward.refuse(reply, "not-yours")
            return
        call = f"{_API}.STREAM.MSG.DELETE.{wanted.stream}"
        self._forward.once(reply, call, verdict.dumped({"seq": wanted.seq}))

    async def _count(self, reply: str, wanted: verdict.Count) -> None:
        """Answer how much is stored by subject: of others' agents not from whom.

        One at a time, and what many subjects take here in a thread: of hundreds of thousands each
        keeps the server busy, and would everybody else here.
        """
        async with self._counting:
            counts: dict[str, int] = {}
            offset: int | None = 0
            place = f"{_API}.STREAM.INFO.{wanted.stream}"
            while offset is not None:
                asked = verdict.dumped({"subjects_filter": wanted.filter, "offset": offset})
                answer = await self._forward.ask(place, asked)
                info = await in_thread(_object, answer)
                if "state" not in info:
                    self._forward.answer(reply, answer)
                    return
                offset = counted(info, counts, offset)
            self._forward.answer(reply, await in_thread(self._told, wanted, counts, info))

    def _told(
        self, wanted: verdict.Count, counts: Mapping[str, int], info: Mapping[str, Any]
    ) -> bytes:
        """Return what the account is told of how much is stored."""
        told: dict[str, int] = {}
        for subject, count in counts.items():
            shown = subject
            if not rules.may_read(self._account, wanted.stream, subject, self._keeper.book):
                if wanted.stream != TASKS:
                    continue
                shown = f"{subject.rpartition('.')[0]}.-"
            told[shown] = told.get(shown, 0) + count
        first = wanted.offset
        page = {name: told[name] for name in sorted(told)[first : first + _COUNTED]}
        state = {**info["state"], "subjects": page}
        return verdict.dumped({**info, "state": state, "total": len(told), "offset": first})


def _size(say: Say) -> int:
    return len(say.subject) + len(head.made(say.headers)) + len(say.data)


def _object(answer: bytes) -> dict[str, Any]:
    """Return an answer of the server's; empty if it is none."""
    value: Any = from_json(answer) if answer else {}
    return value if isinstance(value, dict) else {}
