# SPDX-License-Identifier: Apache-2.0
"""Which agent a session is: by what its user gave, by files, by the folder that has the name.

    >>> who(settings, folder=Path("/home/me/shop")).id
    'shop-claude'

What a person types outside of any host is that person's own, `me-alice`, in every folder. Any other
name is one folder's: the first on this machine whose session called a tool with it (`names`). A
later folder of that name gets `shop-claude-1f3a`, and so does one whose name loses letters on the
way to an id. Nobody is registered here, and no file is written but by `take`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mcp_agentbus.config import folder_file, names, spelling
from mcp_agentbus.config.folder_file import FOLDER_FILE, FolderFile
from mcp_agentbus.config.names import Holder, NameBook
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.config.spelling import PERSONS, keeps_all
from mcp_agentbus.core import hosts, places
from mcp_agentbus.core.framing import one_line
from mcp_agentbus.core.ids import Agent, agent_id, is_agent, is_inbox, role_address

#: The host of what no host has started.
SHELL: Final = "shell"


@dataclass(frozen=True)
class Asked:
    """For whom it is to be found out."""

    settings: Settings
    #: As --agent says.
    given: str | None = None
    folder: Path = field(default_factory=lambda: Path(places.working_folder(os.environ)))
    #: A command that was typed outside of any host, see `hosts.are_around`; or is of a script.
    is_persons: bool = False

    @property
    def is_unnamed(self) -> bool:
        """Whether it is a person who has not said to be an agent."""
        return self.is_persons and not (self.given or self.settings.environ.get("AGENTBUS_AGENT"))


@dataclass(frozen=True)
class Identity:
    """Who a session is, and what is to be said of it."""

    me: Agent
    #: Whose the name becomes at the first call of a tool; None if it is not a folder's to have.
    takes: Holder | None = None
    #: The first call changes nothing: the book has begun, and has the name for this folder.
    is_settled: bool = False
    #: The file that names the agent, where only the roster can tell whether that name is free.
    doubtful: FolderFile | None = None
    #: What holds until its user does something about it: a sentence each, with the command.
    remarks: tuple[str, ...] = ()
    #: What is said once, as the name is taken; empty if it is the one to be expected.
    news: str = ""


def who(settings: Settings, given: str | None = None, folder: Path | None = None) -> Agent:
    """Tell which agent a session in `folder` is, as far as it can be told without the roster.

    In this order: `given` (--agent), AGENTBUS_AGENT, the nearest .agentbus.toml if its name is free
    or allowed, the agent that `agentbus agent add` has set up for this very folder and host, else
    the name that the folder has or would get. A person has another one, see `find`.

    Raises:
        BadInput: the id that was found may not name an agent.
        BadSetup: the .agentbus.toml or the book of names makes no sense.
    """
    return find(Asked(settings, given, folder) if folder else Asked(settings, given)).me


def find(asked: Asked, book: NameBook | None = None, elsewhere: Collection[str] = ()) -> Identity:
    """Tell who a session is, and why it is not who one would expect.

    As `who`; but instead of a folder's name a person has one for all folders, unless that folder
    has had one before for what is typed in it.

    Args:
        asked: whose session.
        book: the book of names, if it was read.
        elsewhere: ids that the roster knows from elsewhere; no file can name them unasked, and no
            person has them.

    Raises: as `who`.
    """
    settings, host = asked.settings, host_of(asked.settings.environ)
    folder = asked.folder.resolve()
    book = book or names.read(settings)
    file = folder_file.nearest(folder)
    given = asked.given or settings.environ.get("AGENTBUS_AGENT")
    why_not = "" if given or not file.agent else _not_free(file, book, settings, elsewhere)
    news, takes = "", None
    if given:
        name = agent_id(given)
    elif file.agent and not why_not:
        name, takes = file.agent, names.holder(file.folder, "")
    elif set_up := _set_up_for(settings, folder, host):
        name = set_up
    elif asked.is_persons and not folders_name(folder, book, settings):
        (name, news), takes = _persons(book, settings, elsewhere), persons(settings)
    else:
        (name, news), takes = _own(book, asked, elsewhere), names.holder(folder, host)
    worker = settings.environ.get("AGENTBUS_WORKER", "")
    agent = Agent(name, host, worker=worker if is_agent(worker) else "")
    me, roles = _described(agent, file, book, settings)
    # Of another folder it can only be if its user has allowed that; then it stays that folder's.
    is_held = takes is None or book.holder(name) is not None
    return Identity(
        me,
        takes,
        is_settled=is_held and book.since is not None,
        doubtful=None if given or is_held or name != file.agent or why_not else file,
        remarks=tuple(filter(None, (why_not and _held_back(file, why_not), roles, _strange(file)))),
        news="" if is_held else news,
    )


def provisional(asked: Asked) -> Identity:
    """Tell who a session is where the roster cannot be asked: a name that it may have taken counts.

    Raises: as `who`.
    """
    found = find(asked)
    return find(asked, elsewhere={found.me.id}) if found.doubtful else found


def take(asked: Asked, registered: Collection[str], elsewhere: Collection[str]) -> Identity:
    """Have a session's folder take its name in the book, as its first call does.

    Args:
        asked: whose session.
        registered: the ids in use until now, for a book that begins with this call.
        elsewhere: as in `find`.

    Raises: as `who`.
    """
    with names.writing(asked.settings) as book:
        book.begin(registered)
        found = find(asked, book, elsewhere)
        if found.takes and not found.is_settled:
            book.names[found.me.id] = found.takes
    return found


def host_of(environ: Mapping[str, str]) -> str:
    """Tell which host's process this environment belongs to; `shell` if none is known."""
    given = environ.get("AGENTBUS_HOST", "")
    if is_inbox(given):
        return given
    host = hosts.marked(environ)
    return host.name if host else SHELL


def persons(settings: Settings) -> Holder:
    """Return this user as the holder of a name, by the folder in which the book is."""
    return names.holder(settings.state_dir, names.PERSON)


def folders_name(folder: Path, book: NameBook, settings: Settings) -> str | None:
    """Return the name that a folder has had for what is typed in it; None if it has none.

    Names from before the book stay: somebody sends to them, and what is typed there may be a
    script's. One that is in the book was taken by what is no person's, such as a session of a host
    that nobody knows.
    """
    plain = spelling.default_id(folder, SHELL)
    was = plain in book.before and plain not in book.renamed
    return plain if was and not _other(plain, book, settings, folder) else None


def _persons(book: NameBook, settings: Settings, elsewhere: Collection[str]) -> tuple[str, str]:
    """Return the name that this user has or would get, and what is to be said if it is new now."""
    if (held := book.person()) and not _is_others(held, settings, elsewhere):
        return held, ""
    login, plain = places.login(), spelling.plain_name()

    def is_free(name: str) -> bool:
        return name not in elsewhere and not _other(name, book, settings, settings.state_dir)

    if keeps_all(login, plain) and is_free(plain):
        return plain, ""
    others = spelling.other_names(settings.account)
    name = next(filter(is_free, others), others[-1])
    why = "letters of your user's name cannot stand in an id"
    if keeps_all(login, plain):
        why = f"{plain} is somebody's already"
    return name, f"You are {name}: {why}. A better name: agentbus agent rename {name} NAME"


def _is_others(name: str, settings: Settings, elsewhere: Collection[str]) -> bool:
    """Tell whether a name that is held here is another account's: each server has its own names."""
    return bool(settings.account) and name in elsewhere


def _set_up_for(settings: Settings, folder: Path, host: str) -> str | None:
    """Return the agent that a wake would start in this folder, by this host; None unless one is."""
    agents = [
        rules.agent
        for rules in settings.rules.values()
        if rules.host == host and rules.is_in(folder)
    ]
    return agents[0] if len(agents) == 1 else None


def _own(book: NameBook, asked: Asked, elsewhere: Collection[str]) -> tuple[str, str]:
    """Return the name that a folder has or would get, and what is to be said if it gets it now."""
    settings, folder = asked.settings, asked.folder.resolve()
    host = host_of(settings.environ)
    held = book.of(folder, host) or _unknown_hosts(book, folder, host)
    if held and not _is_others(held, settings, elsewhere):
        return held, ""
    plain = held or spelling.default_id(folder, host)
    taken_by = _other(plain, book, settings, folder)
    if _is_others(plain, settings, elsewhere):
        return _of_account(plain, book, asked, elsewhere)
    if not taken_by and (plain in book.before or keeps_all(folder.name, plain.rpartition("-")[0])):
        return plain, ""
    others = spelling.other_ids(folder, host)
    free = (name for name in others if not _other(name, book, settings, folder))
    name = next(free, others[-1])
    why = (
        f"{plain} is the agent of {_shown(taken_by)}"
        if taken_by
        else f"letters of {_shown(folder)} cannot stand in an id"
    )
    return name, (
        f"The agent of this folder is {name}: {why}. "
        f"A better name: agentbus agent rename {name} NAME"
    )


def _unknown_hosts(book: NameBook, folder: Path, host: str) -> str | None:
    """Return the name that a folder has for sessions of hosts that nobody knows, if it counts.

    A host that nothing installs may have had sessions there when it had no row. Tasks wait for
    them, and nobody else would read those.
    """
    row = hosts.named(host)
    return book.of(folder, SHELL) if row.marks and not row.installer else None


def _of_account(
    plain: str, book: NameBook, asked: Asked, elsewhere: Collection[str]
) -> tuple[str, str]:
    """Return a folder's name where the one that it has, or would get, is another account's."""
    settings, folder = asked.settings, asked.folder.resolve()
    held = {name for name in book.names if _other(name, book, settings, folder)}
    name = spelling.beside(plain, str(settings.account), {*elsewhere, *held})
    return name, f"The agent of this folder is {name} here: {plain} is another account's."


def _other(name: str, book: NameBook, settings: Settings, folder: Path) -> Path | None:
    """Return the other folder that has a name; None if none has."""
    holder = book.holder(name)
    if holder and not holder.is_at(folder):
        return Path(holder.folder)
    rules = settings.rules.get(name)
    return rules.folder if rules and not rules.is_in(folder) else None


def _not_free(
    file: FolderFile, book: NameBook, settings: Settings, elsewhere: Collection[str]
) -> str:
    """Return why a file cannot name its agent unless its user allows it; empty if it can."""
    if _is_allowed(file, book) or _is_set_up_in(file, settings):
        return ""
    holder = book.holder(file.agent)
    if holder and holder.host == names.PERSON:
        return "which is you at a terminal"
    if holder:
        mine = holder.is_at(file.folder)
        return "" if mine else f"which is the agent of {_shown(Path(holder.folder))}"
    if file.agent.startswith(PERSONS):  # sooner or later somebody is called so who is trusted
        return "which is the name of a person"
    if file.agent in settings.rules:
        return "which config.toml has for another folder"
    return "which the roster knows from elsewhere" if file.agent in elsewhere else ""


def _is_allowed(file: FolderFile, book: NameBook) -> bool:
    return book.allowed.get(str(file.folder)) == file.asks


def _is_set_up_in(file: FolderFile, settings: Settings) -> bool:
    """Tell whether config.toml has the file's agent for the file's folder."""
    rules = settings.rules.get(file.agent)
    return rules is not None and rules.is_in(file.folder)


def _held_back(file: FolderFile, why: str) -> str:
    return (
        f"{_shown(file.folder / FOLDER_FILE)} names the agent {file.agent}, {why}, so it does not "
        f"count. To let it: {_allow(file)}"
    )


def _strange(file: FolderFile) -> str:
    """Return what is to be said of keys that do not exist: how they are spelled is not repeated."""
    if not file.unknown:
        return ""
    known = ", ".join(folder_file.KNOWN)
    what = "a key that does not exist" if file.unknown == 1 else "keys that do not exist"
    return f"{_shown(file.folder / FOLDER_FILE)} has {what}, passed over. Known: {known}."


def _described(
    agent: Agent, file: FolderFile, book: NameBook, settings: Settings
) -> tuple[Agent, str]:
    """Return the agent with what is said of it, and what is to be said of roles that wait."""
    known = settings.agents.get(agent.id)
    if known:
        return (
            replace(
                agent,
                description=known.description,
                roles=known.roles,
                accept_from=known.accept_from,
                set_up=True,
            ),
            "",
        )
    if (file.agent or agent.id) != agent.id:
        return agent, ""  # it describes somebody else
    if not file.roles or _is_allowed(file, book):
        return replace(agent, description=file.description, roles=file.roles), ""
    roles = ", ".join(map(role_address, file.roles))
    return replace(agent, description=file.description), (
        f"{_shown(file.folder / FOLDER_FILE)} asks for {roles}, which does not count yet. "
        f"To let it: {_allow(file)}"
    )


def _allow(file: FolderFile) -> str:
    return f"agentbus agent allow {_shown(file.folder)}"


def _shown(path: Path) -> str:
    """Return a path as it can be typed, on one line: it may come with other people's code."""
    return one_line(shlex.quote(str(path)), 300)
