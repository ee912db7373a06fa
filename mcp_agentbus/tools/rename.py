# SPDX-License-Identifier: Apache-2.0
"""An agent under another name, with all that waits for it.

    >>> await rename(bus, "agent-claude-1f3a", "shop")
    Moved(tasks=2, results=1, held=0, awaited=0)

What a session holds stays with it, and so does what others were asked under the old name and have
not answered: their answers go where the task says. Each task is stored under the new name before it
goes from the old one, so that nothing is lost on the way: the same again goes on where it stopped,
and moves what was left under the old name and has come back, or has been answered, since.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mcp_agentbus.archive.kept.gone import forget_tasks
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Found
from mcp_agentbus.config import identity, names, spelling
from mcp_agentbus.config.changes import editor
from mcp_agentbus.config.folder_file import FOLDER_FILE
from mcp_agentbus.config.machine_key import unforeseen
from mcp_agentbus.config.names import Holder, NameBook
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import both
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import (
    BadInput,
    NameTaken,
    Refused,
    UnknownAgent,
)
from mcp_agentbus.handoff.dispatch.noted import note_renamed
from mcp_agentbus.handoff.parked import parking
from mcp_agentbus.store import records, roster, streams, subjects, tasks
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.queries.read_back import decoded
from mcp_agentbus.store.records import read_record, write_record, write_sent
from mcp_agentbus.store.registered import forgotten
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.steps import first_record, sent_of, step
from mcp_agentbus.store.subjects import RESULTS, SCHEDULE
from mcp_agentbus.store.task import Record, Sent, Task, Undecodable
from mcp_agentbus.tools.forget import count_waiting, inbox_places, see_handed_on, take_off_roster


@dataclass
class Moved:
    """What went to the new name, and what stays under the old one."""

    tasks: int = 0
    results: int = 0
    #: Tasks that a session holds, or whose messages are none that can be read.
    held: int = 0
    #: Tasks that it has sent and that have no end yet.
    awaited: int = 0
    #: Results that it has not seen, and that stay its own, as on a bus with accounts.
    unseen: int = 0
    #: Tasks that were set aside in its inbox.
    parked: int = 0
    #: Its live sessions, which keep the old name.
    sessions: int = 0
    #: It was renamed before; what this says is the rest.
    again: bool = False
    #: The file that names the agent, which its user has to change; empty if none does.
    file: str = ""


async def rename(bus: Bus, old: str, new: str) -> Moved:
    """Give an agent another name: in the book, in config.toml, on the roster, with what waits.

    Raises:
        UnknownAgent: there is none of the old name.
        BadInput: one of them is no id, or somebody has it that is not what the old one became.
        Refused: what it has sent is kept here, or, on a bus with accounts, tasks wait for it.
        BadSetup: the book or config.toml cannot be written, or the machine's key not read.
        BusUnreachable, Unconfirmed, NotAllowed, StoreFull: as `Bus.publish`; the same again goes
            on.
    """
    settings = bus.settings
    for name in (old, new):  # both become parts of subjects
        ids.agent_id(name)
    await streams.ensure_streams(bus)
    entry, taken = await both(roster.look(bus, old), roster.look(bus, new))
    renaming = _Rename(settings, old, new, names.read(settings), entry, taken)
    renaming.see_possible()
    if settings.account:
        await _see_movable(bus, old, new)
    await see_handed_on(settings, old)
    sessions = len(await roster.live_sessions(bus, old))  # moving is one itself, for a while
    # Before anybody knows the new name, so that the same again goes on after a crash.
    moved = await _move(bus, old, new)
    moved.again, moved.sessions = renaming.goes_on and taken is not None, sessions
    holder = renaming.write()
    if not moved.again:
        await roster.register(bus, renaming.agent, entry.last_seen if entry else None)
    moved.file = str(Path(holder.folder) / FOLDER_FILE) if holder and not holder.host else ""
    moved.parked = len(await parking.parked(bus, old))
    if not (moved.held or moved.awaited or moved.unseen or moved.sessions):
        await take_off_roster(bus, old)
    return moved


@dataclass(frozen=True)
class _Rename:
    """A rename, with what stands of either name before it."""

    settings: Settings
    old: str
    new: str
    book: NameBook
    #: What the roster has of the old name.
    entry: Entry | None
    #: And of the new one.
    taken: Entry | None

    @cached_property
    def goes_on(self) -> bool:
        """Whether the old name became the new one before, so that this does the rest of it."""
        agents = self.settings.agents
        # What was ended between the book and config.toml; else this is another of the old name.
        is_same = self.old not in agents or (self.taken is None and self.new not in agents)
        return self.book.became(self.old, self.new) and is_same

    @property
    def is_persons(self) -> bool:
        """Whether the new name is that of the person who types here."""
        return self.new == (self.book.person() or spelling.plain_name())

    @property
    def agent(self) -> Agent:
        """The agent under its new name, as its user has set it up, else as the roster has it."""
        known, entry = self.settings.agents.get(self.old), self.entry
        if known:
            return replace(known, id=self.new)
        if entry is None:
            return Agent(self.new, "shell")
        host = entry.hosts[-1] if entry.hosts else "shell"
        return Agent(self.new, host, entry.description, entry.roles)

    def see_possible(self) -> None:
        """See that there is an agent of the old name, and none of the new one but what it became.

        Raises:
            BadInput, UnknownAgent: it is not so.
        """
        if self.goes_on:
            return
        agents = self.settings.agents
        is_known = self.taken or self.book.holder(self.new) or self.new in agents
        becomes_the_person = self.is_persons and _is_typed(self.book, self.old)
        if (is_known or self.is_persons) and not becomes_the_person:
            raise BadInput(f"{self.new} is an agent already.", hint="Take another name.")
        if self.entry is None and self.old not in {*self.book.names, *agents}:
            said = f"No agent {self.old!r} is known."
            raise UnknownAgent(said, hint="`agentbus agents` lists them.")

    def write(self) -> Holder | None:
        """Write the new name into the book and config.toml; return who had the old one there.

        Raises:
            BadSetup: one of them cannot be written.
        """
        with names.writing(self.settings) as book:
            holder = book.names.pop(self.old, None)
            if holder:
                person = identity.persons(self.settings) if self.is_persons else None
                book.names[self.new] = person or holder
            book.rename(self.old, self.new)
        note_renamed(self.settings.state_dir, self.old, self.new)
        # By the book the same again knows what it was about.
        if not (self.goes_on and self.new in self.settings.agents):
            editor.rename(self.settings, self.old, self.new)
        return holder


async def _see_movable(bus: Bus, old: str, new: str) -> None:
    """See that a bus with accounts lets this one have the name, and that no task would stay back.

    Raises:
        NameTaken: it is another account's.
        Refused: tasks wait for the old name.
    """
    if await forgotten.account_of(bus, new) not in {"", bus.settings.account}:
        raise NameTaken(hint="Take another name.")
    if count := await count_waiting(bus, old):
        raise Refused(
            f"{text.many(count, 'task')} for {old} {'have' if count != 1 else 'has'} no end yet. "
            "On a bus with accounts nobody but its sender addresses a task anew. "
            "Nothing was changed.",
            hint=f"Have them done (agentbus inbox --agent {old}), then rename it.",
        )


def _is_typed(book: names.NameBook, agent: str) -> bool:
    """Tell whether a name was one for what is typed in a folder: its user may be more than one."""
    holder = book.names.get(agent)
    return holder.host == identity.SHELL if holder else agent in book.before


async def _move(bus: Bus, old: str, new: str) -> Moved:
    """Move what waits for an agent: tasks that nobody holds, and results that it has not seen."""
    moved = Moved()
    # For as long as this takes it counts as a session that lives, so that what it holds is its own.
    me, session, gone = Agent(old), ids.new_session_id(), list[Sent]()
    try:
        for stream, places in inbox_places(old):
            async for page in bus.stored(stream, places):
                for message in page:
                    await roster.beat(bus, me, session)
                    if sent := await _move_task(bus, stream, message, new, session):
                        moved.tasks += 1
                        gone.append(sent)
                    else:
                        moved.held += 1
        async for page in bus.stored(RESULTS, subjects.sent_subject(old, "*", "*")):
            for message in page:
                if (sent := records.sent_in(message)) and await _move_result(bus, sent, new, moved):
                    moved.results += 1
                    gone.append(sent)
    finally:  # at once, as a listener may just have read what was on its way
        whose = [(sent.owner, sent.inbox, sent.task_id) for sent in gone]
        await forget_tasks(bus.settings, whose)
    await roster.beat(bus, me, session, leaving=True)
    return moved


async def _move_task(bus: Bus, stream: str, message: Found, new: str, session: str) -> Sent | None:
    """Store a waiting task for another inbox and take it out of this one; None if it stays."""
    inbox, _, (lane, sender, *_) = subjects.parts(message.subject)
    try:
        # One that waits for its time has its id behind what other tasks' subjects say.
        task = decoded(replace(message, subject=subjects.task_subject(inbox, lane, sender)))
    except Undecodable:  # whoever reads the inbox next sets it aside
        return None
    old = sent_of(task)
    record, revision = await read_record(bus, task.sender, task.to, task.id)
    if record and record.ended:
        await _take_out(bus, stream, message)  # and its end is its sender's, who may not know yet
        return None
    if record and await roster.may_hold(bus, record):
        return None
    held = step(record or first_record(old), "claimed", task.to, session, text.now())
    try:
        await write_record(bus, held, revision)
    except Conflict:  # somebody has claimed it at this moment
        return None
    later = task.deliver_at if stream == SCHEDULE else None
    moved = task.model_copy(update={"to": new, "deliver_at": later})
    # The same move again is one; the way back, under a name that had it before, is another.
    move = ("moved", stream, str(message.seq), task.id)
    message_id = unforeseen(bus.settings.state_dir, *move)  # else anybody could have it dropped
    if not await _store(bus, moved, old, record, message_id):
        return None
    await _take_out(bus, stream, message)
    await _drop_records(bus, old)
    if record:
        decisions.forget(bus.settings.state_dir, record)
    return old


async def _store(bus: Bus, moved: Task, old: Sent, record: Record | None, message_id: str) -> bool:
    """Store a task for its new inbox, with all that was said of it; False if it cannot be there.

    First what its next worker reads with it, which may be quicker: what was asked, and decided.
    """
    to = {"inbox": moved.to}
    if record:
        offered = step(record, "stored", old.inbox, "", text.now()).model_copy(update=to)
        folder = bus.settings.state_dir
        if decision := decisions.kept(folder, record):
            decisions.keep(folder, offered, decision)
        with suppress(Conflict):  # an earlier try had come this far
            await write_record(bus, offered, 0)
    await _move_wakes(bus, old, old.owner, moved.to)
    sent, _ = await records.read_sent(bus, old.owner, old.inbox, old.task_id)
    stored = await tasks.store(bus, moved, message_id=message_id)
    if isinstance(stored, tasks.IdInUse):  # what the new name has under this id stays what it is
        return False
    if sent:
        at = {**to, "seq": stored.sent.seq, "deliver_at": moved.deliver_at}
        stored = replace(stored, sent=sent.model_copy(update=at))
    return isinstance(await tasks.keep(bus, stored), tasks.Kept)


async def _move_wakes(bus: Bus, old: Sent, owner: str, inbox: str) -> None:
    """Write down what listeners did about a task where it stands by its new name."""
    wakes, _ = await records.read_wakes(bus, old.owner, old.inbox, old.task_id)
    if wakes:
        key = records.wakes_key(owner, inbox, old.task_id)
        moved = wakes.model_copy(update={"owner": owner, "inbox": inbox})
        with suppress(Conflict):  # an earlier try had come this far
            await records.write(bus, key, moved, 0)


async def _take_out(bus: Bus, stream: str, message: Found) -> None:
    await forgotten.remove(bus, f"STREAM.MSG.DELETE.{stream}", {"seq": message.seq})


async def _drop_records(bus: Bus, sent: Sent) -> None:
    """Take the records of a task from where it was: they stand under another name."""
    for subject in (subjects.sent_subject, subjects.record_subject, subjects.wakes_subject):
        purge = {"filter": subject(sent.owner, sent.inbox, sent.task_id)}
        await forgotten.remove(bus, f"STREAM.PURGE.{RESULTS}", purge)


async def _move_result(bus: Bus, sent: Sent, new: str, moved: Moved) -> bool:
    """Have a result that the sender has not seen be one for another agent; tell whether it is."""
    record, revision = await read_record(bus, sent.owner, sent.inbox, sent.task_id)
    if sent.closed or (record and record.ended and sent.seen_revision >= revision):
        return False
    if record is None or not record.ended:
        moved.awaited += 1
        return False
    if bus.settings.account:  # the new name, which nobody has registered yet, is no account's
        moved.unseen += 1
        return False
    # No session of the old name shows it any more, and any of the new one may.
    to = {"owner": new, "owner_session": ""}
    await _move_wakes(bus, sent, new, sent.inbox)
    with suppress(Conflict):  # an earlier try had come this far
        await write_sent(bus, sent.model_copy(update=to), 0)
    # What is kept of it says that the new name has sent it: by two names it would be two steps.
    old = ("stored", sent.owner)
    steps = tuple(
        each.model_copy(update={"by": new}) if (each.state, each.by) == old else each
        for each in record.history
    )
    with suppress(Conflict):
        await write_record(bus, record.model_copy(update={**to, "history": steps}), 0)
    await _drop_records(bus, sent)
    return True
