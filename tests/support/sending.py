# SPDX-License-Identifier: Apache-2.0
"""A session of `planner` that sends, on a bus that answers as a test has it; what it asks is noted.

>>> sender.server.refuses["coder"] = InboxFull()
>>> await sender(["coder", "tester"], priority="high")
(Receipt(task_id='coder-own', state='refused', ...
"""

from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

from exact_server import ExactServer
from server_stand_in import NOON

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff import send
from mcp_agentbus.handoff.call import Calls
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.dispatch.addressees import Addressee
from mcp_agentbus.handoff.dispatch.draft import Route, drawn
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import codec
from mcp_agentbus.store.outbox.outbox import KeptHere
from mcp_agentbus.store.roster import Entry

#: What time it is there, which counts.
THERE = NOON + timedelta(seconds=3)
AWAY = BusUnreachable("No bus server answers. Nothing was stored.", hint="Wait.")
#: What each call that sends has asked for before it asks for anything else.
BEFORE = ["called", "before more"]
_FIRST = Route(("planner",), 0)


class Server(ExactServer):
    """Raises what it is to say to what goes to some inboxes."""

    def __init__(self, state_dir):
        super().__init__(state_dir=state_dir)
        self.settings.keeps_outbox = False
        self.refuses = {}

    async def publish(self, subject, data, headers, **how):
        if error := self.refuses.get(subject.split(".")[1]):
            raise error
        return await super().publish(subject, data, headers, **how)


class Sender:
    """A session of planner's, and in `asked` what it has asked for, in order."""

    def __init__(self, monkeypatch, state_dir):
        self.server = server = Server(state_dir)
        self.asked, self.counted, self.begun, self.awaited = [], [], [], []
        #: What the roster says of each, by inbox; those of whom it has said so a moment ago.
        self.entries = {"coder": Entry("coder", "listening"), "tester": Entry("tester", "offline")}
        self.recently, self.fails = set(), None
        monkeypatch.setattr("mcp_agentbus.core.text.now", lambda: NOON)
        monkeypatch.setattr(send, "now_about", self._now_about)
        monkeypatch.setattr(send, "secrets", SimpleNamespace(token_hex=lambda _: "own"))
        claims = Claims(None, "planner", "session-1")
        self.session = SimpleNamespace(
            bus=server, me=Agent("planner"), inboxes=("planner",), id="session-1", leased=False,
            claims=claims, calls=Calls(), outbox=None, called=self._called, known=self,
            refreshed=lambda: Agent("planner"),
            task_id=lambda inbox, key: f"{inbox}-{key}",
            rate=SimpleNamespace(check=lambda *each: self.counted.append(each)),
            outcomes=SimpleNamespace(
                awaiting=self._awaiting, forget=lambda _: None,
                sent_records=SimpleNamespace(
                    see_all_written=self._noted("before more"), settled=self._noted("settled"),
                    write_behind=self.begun.append,
                ),
            ),
        )  # fmt: skip

    def _noted(self, what):
        async def note():
            self.asked.append(what)

        return note

    def kept_by(self, outbox):
        """Have what it sends be kept there while its bus, which is elsewhere, is away."""
        self.server.settings.keeps_outbox, self.session.outbox = True, outbox
        return outbox

    async def _now_about(self, _, at):
        self.asked.append(("now", at))
        return THERE

    async def _called(self):
        self.asked.append("called")
        if self.fails:
            raise self.fails

    @contextmanager
    def _awaiting(self, task):
        self.awaited.append(task.id)
        yield

    async def find(self, addresses):
        self.asked.append(list(addresses))
        names = ["coder", "tester"] if list(addresses) == ["all"] else addresses
        return [Addressee(each, each.replace("role:", "role-"), self.of(each)) for each in names]

    def of(self, inbox):
        entry = self.entries.get(inbox)
        return entry if entry and entry.accept_from != ("*",) else None

    def recent(self, addressee, priority):
        return self.entries.get(addressee.inbox) if addressee.inbox in self.recently else None

    async def entry(self, addressee, priority):
        self.asked.append(("entry", addressee.inbox, priority))
        return self.entries.get(addressee.inbox)

    async def __call__(self, to="coder", **options):
        return await send_task(self.session, to, "Count", "all", **options)

    def task(self, to="coder", key="own", at=THERE, route=_FIRST, **options):
        """Return the task that such a call sends."""
        draft = drawn(self.session, "Count", "all", options).begun(at)
        return draft.task_for(to, f"{to}-{key}", route)

    @property
    def stored(self):
        """The tasks that were stored, and where what is kept of tasks was."""
        return [
            codec.decode_task(each[1], each[3], each[4], NOON) if len(each) == 5 else each[1]
            for each in self.server.done
        ]


class Outbox:
    """Keeps everything, behind one task of planner's or none."""

    is_locked_out, may_hold, says = False, True, {}

    def __init__(self, *, waits):
        self.kept, self.waits = [], waits

    async def has(self, _):
        return self.waits

    async def put(self, task, _):
        self.kept.append(task)
        return KeptHere(duplicate=False)
