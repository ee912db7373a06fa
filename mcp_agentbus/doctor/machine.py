# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` looks at on this machine: versions, files, the agents that are set up.

    >>> versions()
    Check(name='versions', state='ok', said='agentbus 0.1.0, Python 3.12.3, mcp 2.3.0, ...')

A check changes nothing and shows no secret: paths, modes, versions and names only. One that cannot
be made says so; it is never taken for a good one.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final

from mcp_agentbus.archive.file import Archive
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.bus.own.program import binary, other_binary
from mcp_agentbus.config import folder_file, identity, machine_key, names, spelling
from mcp_agentbus.config.identity import Asked, Identity
from mcp_agentbus.config.rules import MEANS, Rules
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core import hosts, places, programs
from mcp_agentbus.core.files import check_own, check_private, is_open, unusable
from mcp_agentbus.core.text import many, minute
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.doctor.stored import folder
from mcp_agentbus.errors import AgentbusError, ArchiveBroken, BadSetup, BusUnreachable, Unconfirmed
from mcp_agentbus.handoff import shells
from mcp_agentbus.human import outlook
from mcp_agentbus.installers.steps import Step
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.version import __version__
from mcp_agentbus.wakes.hosts.openclaw import UNSET
from mcp_agentbus.wakes.hosts.registry import missing_program, not_there

_IsOpen = Callable[[os.stat_result], bool]
_PYTHON: Final = (3, 11)
_LIBRARIES: Final = ("mcp", "nats-py")
_TRY_HUMAN: Final = "try it: agentbus human --test"
# A program that only prints its version.
_RUN_S: Final = 10


def versions() -> Check:
    """See that this Python and the libraries are those that agentbus was made for."""
    python = ".".join(map(str, sys.version_info[:3]))
    versions, old = [f"agentbus {__version__}", f"Python {python}"], []
    if sys.version_info < _PYTHON:
        old.append(f"Python is older than {'.'.join(map(str, _PYTHON))}")
    least = _least()
    for library in _LIBRARIES:
        try:
            version = metadata.version(library)
        except metadata.PackageNotFoundError:
            old.append(f"{library} is not installed")
            continue
        versions.append(f"{library} {version}")
        if _numbers(version) < _numbers(least.get(library, "0")):
            old.append(f"{library} is older than {least[library]}")
    if old:
        said = "; ".join([*old, ", ".join(versions)])
        return Check("versions", "wrong", said, f"Run: {programs.install_line('upgrade')}")
    return Check("versions", "ok", ", ".join(versions))


def _least() -> dict[str, str]:
    """Return the oldest version of each library that this package's own metadata allows."""
    try:
        required = metadata.requires("mcp-agentbus") or []
    except metadata.PackageNotFoundError:  # run from its sources
        required = []
    least = (re.match(r"([\w.-]+)[^;]*?>=\s*([\d.]+)", line) for line in required)
    return {bound[1]: bound[2] for bound in least if bound}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def nats_server(settings: Settings) -> Check:
    """See that there is a nats-server program, and that it runs."""
    name = "nats-server"
    if settings.url:
        return Check(name, "ok", "not needed here: the bus is a shared server")
    try:
        program = binary(settings)
    except BadSetup as error:
        return Check(name, "wrong", error.message, error.hint)
    version = _version(program)
    if not version:
        said = f"{program} does not say its version"
        return Check(name, "wrong", said, other_binary(settings))
    return Check(name, "ok", f"nats-server {version}, {program}")


def _version(program: Path) -> str:
    """Return the version of a nats-server program; nothing if it does not run."""
    try:
        ended = programs.run([program, "--version"], timeout_s=_RUN_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    version = re.search(r"\bv?(\d+\.\d+\.\d+[\w.-]*)", ended.stdout)
    return version[1] if version and not ended.returncode else ""


def configuration(settings: Settings) -> Check:
    """See that the configuration can be read."""
    try:
        loaded = load_settings(settings.environ)
    except BadSetup as error:
        return Check("config", "wrong", error.message, error.hint)
    about = f"{loaded.config_file}, {many(len(loaded.agents), 'agent')}"
    if not loaded.config_file.exists():
        about = f"there is no {loaded.config_file}; nothing is needed in it"
    if idle := [f"{key} of {name}" for name in loaded.rules for key in loaded.rules[name].idle]:
        said = f"{about}; in it these do nothing: {', '.join(idle)}"
        return Check("config", "warning", said, "Take them out.")
    return Check("config", "ok", about)


def files(settings: Settings) -> list[Check]:
    """See that the files and folders of agentbus belong to this user alone."""
    wrong = [
        _file(settings.config_file, check_own),
        *map(_file, _secrets(settings)),
        _key(machine_key.file_in(settings.state_dir)),
        *(_folder(path, open_) for path, open_ in _folders(settings)),
        folder.linked(settings),
        *map(_writable, (settings.data_dir, settings.state_dir, Path(settings.runtime_dir))),
    ]
    return [check for check in wrong if check] or [
        Check("files", "ok", "tokens, records and the socket are this user's alone")
    ]


def archive(settings: Settings) -> list[Check]:
    """See that the archive can be read, if there is one."""
    file = settings.archive_file
    if file is None or not file.exists():
        return []
    try:
        with Archive(file, settings.archive) as kept:
            kept.rows("SELECT * FROM tasks ORDER BY rowid DESC LIMIT 100")
    except ArchiveBroken as error:
        return [Check("archive", "wrong", error.message, error.hint)]
    return []


def _secrets(settings: Settings) -> Iterator[Path]:
    ours = Files(settings.data_dir)
    yield from (
        settings.ledger_file,
        *filter(None, [settings.archive_file]),
        names.file_of(settings),
    )
    if settings.url is None:
        yield from (ours.token, ours.conf)
    yield from settings.secret_files
    yield from (rules.token_file for rules in settings.rules.values() if rules.token_file)


def _folders(settings: Settings) -> Iterator[tuple[Path, _IsOpen]]:
    """Yield each folder, with what tells whether others have rights that they may not have."""
    yield settings.data_dir, _is_seen
    yield settings.state_dir, _is_seen
    yield Path(settings.runtime_dir), _is_seen
    # It may hold other programs' files; whoever can write there can exchange ours.
    yield settings.config_file.parent, is_open


def _is_seen(about: os.stat_result) -> bool:
    """Tell whether others than its owner may do anything in a folder."""
    return bool(about.st_mode & 0o077)


def _writable(folder: Path) -> Check | None:
    """Return why nothing can be written in a folder, or it cannot be made; None if it can."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if os.access(there, os.W_OK | os.X_OK) and there.is_dir():
        return None
    refused = _refusal(there) if there.is_dir() else errno.ENOTDIR
    error = unusable(OSError(refused, os.strerror(refused), str(folder)), done="written to")
    return Check("files", "wrong", error.message, error.hint)


def _refusal(folder: Path) -> int:
    """Return as which error the system refuses a write there: `os.access` does not say it."""
    with suppress(OSError):
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            return errno.EROFS
    return errno.EACCES


def _file(path: Path, check: Callable[[Path], None] = check_private) -> Check | None:
    """Return what is wrong with a file of this user's; None if nothing is, or without one."""
    try:
        check(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except BadSetup as error:
        mend = _chmod(path, 0o600) if _is_mine(path) else None
        return Check("files", "wrong", error.message, error.hint, mend)
    except OSError as error:
        fault = unusable(error, path, done="read")
        return Check("files", "wrong", fault.message, fault.hint)
    return None


def _key(file: Path) -> Check | None:
    """Return what is wrong with the key of this machine, without which nothing is sent."""
    wrong = _file(file, machine_key.check)
    if wrong is None or _file(file):
        return wrong
    # Nothing is lost with a file that has nothing in it.
    is_empty = file.stat().st_size == 0
    mend = Step(f"rm {shlex.quote(str(file))}", partial(_removed, file)) if is_empty else None
    return replace(wrong, mend=mend)


def _folder(path: Path, open_: _IsOpen) -> Check | None:
    """Return what is wrong with a folder; None if nothing is, or without one."""
    try:
        about = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Check("files", "unknown", f"{path} cannot be looked at: {error.strerror}.")
    shown = shlex.quote(str(path))
    if stat.S_ISLNK(about.st_mode):
        # A link of the user's own to another disk is fine, if that folder is.
        target = path.resolve()
        return _folder(target, open_) if target.exists() else None
    if not _is_mine(path):
        fix = f"Run: sudo chown $USER {shown}"
        return Check("files", "wrong", f"{path} belongs to another user.", fix)
    if open_(about):
        return Check(
            "files",
            "wrong",
            f"{path} is open to other users.",
            f"Run: chmod 700 {shown}",
            _chmod(path, 0o700),
        )
    return None


def _is_mine(path: Path) -> bool:
    about = path.lstat()
    return not stat.S_ISLNK(about.st_mode) and about.st_uid == os.getuid()


def _chmod(path: Path, mode: int) -> Step:
    return Step(f"chmod {mode:o} {shlex.quote(str(path))}", partial(_changed, path, mode))


def _changed(path: Path, mode: int) -> str:
    try:
        # Not through a link that has taken its place since it was looked at.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unusable(error, path, done="changed") from None
    return ""


def _removed(path: Path) -> str:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unusable(error, path, done="removed") from None
    return ""


async def name(settings: Settings) -> list[Check]:
    """See which files would say who a session in this folder is, and do not count.

    And who a person is here that is another one elsewhere; else nothing.
    """
    checks = [
        Check("name", "warning", passed, "Mend that, or name the agent with AGENTBUS_AGENT.")
        for passed in folder_file.passed_over(_working_folder(settings))
    ]
    try:
        asked = Asked(settings, is_persons=not hosts.are_around(os.environ))
        found = await _identified(asked)
    except AgentbusError as error:
        return [*checks, Check("name", "wrong", error.message, error.hint)]
    for remark in found.remarks:
        said, to_let_it, allow = remark.partition(" To let it: ")
        checks.append(Check("name", "warning", said, f"{to_let_it.strip()} {allow}".strip()))
    return [*checks, *_person(asked, found)] if asked.is_unnamed else checks


def _working_folder(settings: Settings) -> Path:
    return Path(places.working_folder(settings.environ)).resolve()


def _person(asked: Asked, found: Identity) -> list[Check]:
    """Say who a person is in this folder, if another one than elsewhere."""
    book = names.read(asked.settings)
    me, here = book.person() or spelling.plain_name(), found.me.id
    if here == me:
        return []
    said = f"what you type in this folder is {here}'s; elsewhere you are {me}"
    if identity.folders_name(asked.folder.resolve(), book, asked.settings) == here:
        said += f" (to be that here as well: agentbus agent rename {here} {me})"
    return [Check("name", "ok", said)]


async def _identified(asked: Asked) -> Identity:
    """Tell who a session here is; without a server as far as that goes, and none is started."""
    async with Bus(asked.settings) as bus:
        with suppress(BusUnreachable, Unconfirmed):
            if await bus.reconnected(0):
                return await Naming(asked, shells.agents(asked.settings)).look(bus)
    return identity.find(asked)


def human(settings: Settings) -> list[Check]:
    """See that a person can be told, if one is to be; nobody is told for that."""
    about = outlook.data(settings)
    if not about["by"]:
        return []
    how = f"you are told by {about['by']}"
    if about["wrong"]:
        return [Check("human", "wrong", f"{how}, which cannot be: {about['wrong']}")]
    last = about["taps"][-1:]
    if last and not last[0]["told"]:
        return [Check("human", "warning", f"{how}: {last[0]['said']}", _TRY_HUMAN.capitalize())]
    # What it takes to know that a line arrives is to tell one.
    told = f"last at {minute(last[0]['at'])}" if last else f"nothing so far ({_TRY_HUMAN})"
    return [Check("human", "ok", f"{how}, {told}")]


def agents(settings: Settings) -> list[Check]:
    """See that each agent of the configuration can be started as it says."""
    if not settings.agents:
        return [
            Check(
                "agents",
                "ok",
                "none is set up to be woken; live sessions need none "
                "(agentbus agent add ID --host HOST --dir FOLDER)",
            )
        ]
    return [_agent(name, settings) for name in sorted(settings.agents)]


def _agent(agent: str, settings: Settings) -> Check:
    name, rules = f"agent {agent}", settings.rules.get(agent)
    if rules is None:
        return Check(
            name, "ok", f"{settings.agents[agent].host}, live sessions only: it has no dir"
        )
    again = f"agentbus agent add {agent} --replace --dir FOLDER"
    if lacks := rules.folder_lacks():
        return Check(name, "wrong", lacks, f"See to it, or name another: {again}")
    about = f"{rules.host} in {rules.folder}, wake {rules.profile}: {MEANS[rules.profile]}"
    missing, fix = start_lacks(rules, settings) if rules.profile != "hold" else ("", "")
    if missing:
        return Check(name, "wrong", f"{missing}, so nothing can start it", fix)
    return Check(name, "ok", about)


def start_lacks(rules: Rules, settings: Settings) -> tuple[str, str]:
    """Return what an agent's start lacks, and what to do; two empty texts if nothing."""
    if rules.token_file is None and "token_file" in hosts.named(rules.host).keys:
        return "no token_file is set for its gateway", UNSET.format(rules.agent)
    if rules.token_file and not rules.token_file.is_file():
        fix = "Write hooks.token of openclaw.json into it, mode 0600."
        return f"there is no {rules.token_file}", fix
    host, mode = hosts.named(rules.host), rules.permission_mode
    if not host.takes_mode(mode):
        fix = f"Take it out of {settings.config_file}, or set it to {' or '.join(host.modes)}."
        return f"{rules.host} cannot be started in permission_mode {mode}", fix
    programs = missing_program(rules, settings.environ)
    if not programs:
        return "", ""
    fix = f"Install {rules.host}, or put its folder on PATH and start the listener again."
    if rules.command:
        fix = f"Correct command in {settings.config_file}."
    return not_there(programs, rules=rules), fix
