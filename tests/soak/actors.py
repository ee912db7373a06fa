# SPDX-License-Identifier: Apache-2.0
"""Who works on the bus: each takes turns by its own choices, and writes down what it was answered.

    actor = Actor(world, Mcp("ana-1", "ana", world.place), inboxes=("ana",))
    await actor.live()     # until the faults are over
    await actor.drain()    # until all that anybody was promised has come true

A call that came to nothing known is made again in a later turn, as a careful client does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from choices import INBOXES, Choices, Errand
from ledger import (
    ENDS,
    Call,
    Claimed,
    Ended,
    Ledger,
    Looked,
    Said,
    Sent,
    Shown,
    Told,
    Tried,
    Trouble,
)
from place import Place
from voices import Answer, Gone, Refused, Shell, Voice

if TYPE_CHECKING:
    from sharing import SharedBus

_TURN_S = (0.05, 0.5)
_DRAIN_PAUSE_S = 0.4
_LOOK_AGAIN_S = 0.2
_LIMIT_MAX = 50
_LIMITS = (1, 2, 5, 5, 10)
_CLOSES_AFTER = (12, 40)


@dataclass
class World:
    """What all of a run share."""

    folder: Path
    #: One, or one for each account of a shared bus.
    places: list[Place]
    choices: Choices
    ledger: Ledger
    #: Seconds since the run began.
    clock: Callable[[], float]
    #: Set when the faults are over, and when all is done.
    calm: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    actors: list[Actor] = field(default_factory=list)
    #: By how many seconds the clocks are ahead that somebody of the run has set, see `clocks`.
    clocks: dict[str, int] = field(default_factory=dict)
    #: The server that all of these use, where it is none of a user's own.
    shared: SharedBus | None = None

    @property
    def place(self) -> Place:
        """Where most of them are."""
        return self.places[0]

    def place_of(self, session: str) -> Place:
        """Return where a session is."""
        return next(place for place in self.places if session.endswith(place.mark))

    def begun(self, log: str) -> list[float]:
        """Return when processes were begun that have this log."""
        offset = time.monotonic() - self.clock()
        owners = [self.shared.owner] if self.shared else []
        return [at - offset for place in (*self.places, *owners) for at in place.begun[log]]

    def trouble(self, kind: str, told: str, *began: float) -> None:
        """Write down what may not be, and when the process began that is about to begin there."""
        self.ledger.add(Trouble(self.clock(), kind, told, began))


async def until(
    condition: Callable[[], object], within_s: float, *, every_s: float = _LOOK_AGAIN_S
) -> bool:
    """Wait until a condition holds, for so long at most; tell whether it does."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  # no event tells of other processes
                await asyncio.sleep(every_s)
    return bool(condition())


@dataclass
class Unsent:
    """A send that nobody has confirmed."""

    errand: Errand
    token: str
    arguments: dict
    kind: str
    #: When it was first tried: a schedule counts from there, whoever hears of it.
    first: float


class Actor:
    """One session of an agent after the other, and what it means to do."""

    def __init__(
        self, world: World, voice: Voice, inboxes: tuple[str, ...] = (), *, sends: bool = False
    ) -> None:
        self.voice, self._world, self._inboxes, self._sends = voice, world, inboxes, sends
        name = voice.name
        self._chance = world.choices.of(f"{name} turns")
        self._errands = world.choices.errands(name)
        self._treatments = world.choices.treatments(name)
        self._number = 0
        #: What it holds, with the steps that it still means to take.
        self._held: dict[str, list[str]] = {}
        self._tokens: dict[tuple[str, str], str] = {}
        self._unsent: list[Unsent] = []
        #: Sent tasks that it will withdraw, and in how many turns.
        self._withdrawals: dict[str, int] = {}
        #: Sent tasks whose workers have asked, with the token of its answer.
        self._asked: dict[str, str] = {}
        self._turns_left = self._chance.randint(*_CLOSES_AFTER)
        #: The last words that were no help.
        self.complaint = ""
        #: What its last look said.
        self.looked = ""
        #: Somebody of the run is about to kill its process.
        self._doomed = False

    def doom(self, how: str) -> None:
        """Write down that its process is about to be killed."""
        self._doomed = True
        self._world.ledger.add(Ended(self._world.clock(), self.voice.session, how))

    @property
    def owes(self) -> list[str]:
        """What it has left to do: sends that nobody has confirmed, tasks that it holds."""
        sends = [f"send {one.token}" for one in self._unsent if one.errand.repeated]
        return [*sends, *(f"end {task}" for task in self._held)]

    async def enter(self) -> None:
        """Begin, and read for the first time, which registers the agent."""
        if await self._ready():
            await self._look("read_inbox", limit=1)

    async def live(self) -> None:
        """Take turns until the faults are over."""
        while not self._world.calm.is_set():
            if await self._ready():
                await self._turn()
            await asyncio.sleep(self._chance.uniform(*_TURN_S))

    async def drain(self) -> None:
        """End what is held, see what came back, say again what nobody confirmed."""
        self._held = {task: ["completed"] for task in self._held}
        while not self._world.settled.is_set():
            if await self._ready():
                await self._say_again()
                await self._reply()
                await self._look("read_inbox", limit=_LIMIT_MAX)
                for task in list(self._held):
                    self._held[task] = self._held[task][:1] or ["completed"]
                    if self._held[task][0] in {"keep", "ask", "released"}:
                        self._held[task] = ["completed"]
                    await self._step(task)
            await asyncio.sleep(_DRAIN_PAUSE_S)

    async def close(self) -> None:
        """End the session as its host does."""
        if self.voice.alive:
            self._world.ledger.add(Ended(self._world.clock(), self.voice.session, "closed"))
            began, session = self._world.clock(), self.voice.session
            outcome = "stored" if await self.voice.end() else "none"
            self._world.ledger.add(Call(self._world.clock(), began, session, "end", outcome))
        self._forget()

    async def _ready(self) -> bool:
        """Have a process, a new one if the last has ended."""
        if self.voice.alive:
            return True
        self._forget()
        began, clock, outcome = self._world.clock(), self._world.clock, "stored"
        try:
            await self.voice.start()
        except Refused:
            outcome = "unknown"
            await self.voice.process.wait()
        except Gone:
            outcome = "unknown"
            if not self._doomed:
                code = await self.voice.process.wait()
                told = f"{self.voice.session} ended ({code}) before it had answered"
                self._world.trouble("died", f"{told}: {self.voice.said}", began)
        except TimeoutError:
            outcome = "none"
            self.voice.kill()
            await self.voice.process.wait()
        self._world.ledger.add(Call(clock(), began, self.voice.session, "start", outcome))
        return outcome == "stored"

    def _forget(self) -> None:
        self._doomed = False
        if not isinstance(self.voice, Shell):  # its claims are leases
            self._held = {}
            self._tokens = {}

    async def _turn(self) -> None:
        self._turns_left -= 1
        if self._turns_left <= 0 and not isinstance(self.voice, Shell):
            self._turns_left = self._chance.randint(*_CLOSES_AFTER)
            await self.close()
            return
        await self._reply()
        choice = self._chance.random()
        if self._sends:
            await self._say_again()
            await self._withdraw()
            if choice < 0.6:
                await self._send()
                return
        todo = [task for task, steps in self._held.items() if steps and steps[0] != "keep"]
        if todo and choice < 0.7:
            await self._step(self._chance.choice(todo))
        elif choice < 0.9:
            await self._look("read_inbox", limit=self._chance.choice(_LIMITS))
        else:
            await self._look("watch_inbox", timeout_s=round(self._chance.uniform(0.2, 2.0), 1))

    async def _ask(self, tool: str, **arguments) -> tuple[Answer, float]:
        """Call a tool; return the answer, `unknown` if there was none, and when it was asked."""
        began, session, clock = self._world.clock(), self.voice.session, self._world.clock
        try:
            answer = await self.voice.call(tool, **arguments)
        except Gone:
            answer = Answer("unknown", "its process ended")
            if not self._doomed and not isinstance(self.voice, Shell):
                code = await self.voice.process.wait()
                why = f"ended by itself ({code}) during {tool}: {self.voice.said}"
                self._world.trouble("died", f"{session} {why}")
        except TimeoutError:
            answer = Answer("none", "no answer")  # whether that is too late, the checker knows
            if not isinstance(self.voice, Shell):
                self.doom("given up")
                self.voice.kill()
        if answer.outcome in {"unknown", "none"}:
            self.complaint = f"{tool}: {answer.text[-300:]}"
        waited = arguments.get("timeout_s", 0) + (arguments.get("wait_s") or 0)
        if answer.is_bug:
            begins = [began] if isinstance(self.voice, Shell) else []
            self._world.trouble("bug", f"{session}, {tool}: {answer.text[-600:]}", *begins)
        told = "" if answer.outcome == "stored" else answer.text[-300:]
        self._world.ledger.add(Call(clock() - waited, began, session, tool, answer.outcome, told))
        return replace(answer, outcome="unknown") if answer.outcome == "none" else answer, began

    async def _send(self) -> None:
        await self.store(next(self._errands))

    async def store(self, errand: Errand) -> None:
        """Send a task, and say it again until somebody confirms it."""
        await self._store(errand, errand.kind, {})

    async def _store(self, errand: Errand, kind: str, more: dict) -> None:
        """Send a task; what is not confirmed and has an id of its own is sent again later."""
        self._number += 1
        token = f"{self.voice.name}-{self._number}"
        arguments = {
            "to": errand.to, "subject": token, "body": f"{token}, please.", "priority": errand.lane,
            "expires_in_s": errand.expires_in_s, "deliver_in_s": errand.deliver_in_s,
            "request_id": token if errand.repeated else None, **more,
        }  # fmt: skip
        given = {key: value for key, value in arguments.items() if value is not None}
        await self._store_as(Unsent(errand, token, given, kind, self._world.clock()))

    async def _store_as(self, unsent: Unsent) -> None:
        errand, clock = unsent.errand, self._world.clock
        self._world.ledger.add(Tried(clock(), unsent.token))
        answer, began = await self._ask("send_task", **unsent.arguments)
        at = clock()
        if answer.outcome == "unknown" and errand.repeated:
            self._unsent.append(unsent)
        if answer.outcome != "stored":
            return
        inbox = errand.to.replace("role:", "role-")
        due = unsent.first + errand.deliver_in_s if errand.deliver_in_s else 0.0
        expires = (due or unsent.first) + errand.expires_in_s if errand.expires_in_s else 0.0
        self._world.ledger.add(
            Sent(at, answer.task, began, self.voice.agent, self.voice.session, inbox, errand.lane,
                 unsent.token, unsent.kind, due, answer.is_here, expires)
        )  # fmt: skip
        self._note(answer, began, 0)
        if errand.withdrawn_after:
            self._withdrawals[answer.task] = errand.withdrawn_after

    async def _say_again(self) -> None:
        again, self._unsent = self._unsent, []
        for unsent in again:
            await self._store_as(unsent)

    async def _withdraw(self) -> None:
        for task in list(self._withdrawals):
            self._withdrawals[task] -= 1
            if self._withdrawals[task] <= 0:
                outcome = await self._publish(task, "cancelled")
                if outcome != "unknown":
                    del self._withdrawals[task]

    async def _reply(self) -> None:
        """Answer what workers have asked; what is not confirmed is said again."""
        for task, token in list(self._asked.items()):
            if await self._publish(task, "answered", token) != "unknown":
                self._asked.pop(task, None)

    async def _look(self, tool: str, **arguments) -> None:
        answer, began = await self._ask(tool, **arguments)
        self.looked = answer.text
        if answer.outcome == "stored":
            limit = arguments.get("limit", 5)
            self._note(answer, began, limit)
            if tool == "read_inbox" and answer.whole:
                room = limit - len(answer.items)
                looked = (self.voice.agent, self.voice.session, self._inboxes, room)
                self._world.ledger.add(Looked(self._world.clock(), began, *looked))

    def _note(self, answer: Answer, began: float, asked: int) -> None:
        """Write down what an answer has shown."""
        at, agent, session = self._world.clock(), self.voice.agent, self.voice.session
        for task in [task for task in self._held if _told_lost(task, answer.text)]:
            del self._held[task]
            self._world.ledger.add(Said(at, task, began, agent, session, "lost", "", "stored"))
        for place, item in enumerate(answer.items):
            new = item.new or item.task not in self._held
            got = len(answer.items)
            self._world.ledger.add(
                Claimed(at, item.task, began, agent, session, item.attempt, new, place, asked, got)
            )
            if item.task not in self._held:
                self._held[item.task] = list(next(self._treatments))
        for token, task in answer.replies:
            self._world.ledger.add(Told(at, task, agent, session, token))
        for task, state in answer.results:
            self._world.ledger.add(Shown(at, task, agent, session, state))
            if state == "needs_input":
                self._number += 1
                self._asked[task] = reply_to(task, self._number)

    async def _step(self, task: str) -> None:
        """Take the next step with a task that is held."""
        steps = self._held[task]
        if steps[0] == "ask":
            steps.pop(0)
            errand = next(self._errands)
            others = [name for name in INBOXES if name not in {self.voice.agent, "wanda"}]
            errand = Errand(self._chance.choice(others), "normal", None, None, True, 0)
            await self._store(errand, "chained", {"in_reply_to": task})
            return
        outcome = await self._publish(task, steps[0])
        if outcome == "unknown":
            return
        status = steps.pop(0)
        if outcome == "refused" or (not steps and status in {*ENDS, "released"}):
            self._held.pop(task, None)
        elif not steps:
            steps.append("completed")

    async def _publish(self, task: str, status: str, token: str = "") -> str:
        """Publish a status under the token that it has; return what came of it."""
        session = self.voice.session
        token = token or self._tokens.setdefault((task, status), f"{session} {status} {task[:8]}")
        answer, began = await self._ask(
            "publish_result", task_id=task, status=status, summary=token
        )
        self._world.ledger.add(
            Said(self._world.clock(), task, began, self.voice.agent, session, status, token,
                 answer.outcome)
        )  # fmt: skip
        return answer.outcome


def reply_to(task: str, number: object) -> str:
    """Return the token of a reply to a question about a task."""
    return f"reply-{task}-{number}"


def _told_lost(task: str, text: str) -> bool:
    """Whether an answer says that the session no longer holds a task."""
    return any(f"Task {task} {how}" in text for how in ("was taken over", "is over"))
