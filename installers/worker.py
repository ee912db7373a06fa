# SPDX-License-Identifier: Apache-2.0
"""A worker as a service of one user: for systemd, for launchd, or as a section for supervisor.

    >>> install(Kept("coder", ("work", "--agent", "coder", "--", "/usr/bin/claude", "-p"), ...))
    ['wrote /home/me/.config/systemd/user/agentbus-work-coder.service', ...]

No root and no secret of ours; what the user has typed as the program's arguments stands in the
file. What is told to end drains: it has its time limit for that, and half a minute.
"""

from __future__ import annotations

import plistlib
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from mcp_agentbus.installers import launchd, service, systemd
from mcp_agentbus.installers._parts.service import Run, check_plain, environ, left_out, run_program

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import places, programs
from mcp_agentbus.core.ids import is_agent
from mcp_agentbus.errors import BadSetup

Form = Literal["systemd", "launchd", "supervisor"]
# Beyond the time limit of a task, in seconds: for the end of a program, and the bus.
_MORE_S: Final = 30
# Where supervisor's reader of its configuration sees a comment, also between quotes.
_COMMENT: Final = re.compile(r"\s[#;]")
_UNIT_TEXT: Final = """\
[Unit]
Description=agentbus worker: does the tasks of {agent}
# Without an end: a bus that is away comes back.
StartLimitIntervalSec=0

[Service]
ExecStart={command}
WorkingDirectory={folder}
{environ}Restart=on-failure
RestartSec=5
# What was typed or stands in its file is refused: it would be so at each start.
RestartPreventExitStatus=2
# The worker alone is told to end: it ends its programs itself, once their tasks are done; and the
# bus server may be its child, which others need.
KillMode=process
TimeoutStopSec={stop_s}
# A program that runs out of memory does not end the worker.
OOMPolicy=continue
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""


@dataclass(frozen=True)
class Kept:
    """A worker that is to be kept running."""

    agent: str
    #: What is typed behind `agentbus`.
    words: tuple[str, ...]
    #: Where it works.
    folder: Path
    #: How long a task may take, in seconds.
    time_limit_s: float

    @property
    def name(self) -> str:
        """What its service is called."""
        return name(self.agent)

    @property
    def stop_s(self) -> int:
        """How long it may take, in seconds, from SIGTERM to its end."""
        return round(self.time_limit_s) + _MORE_S

    @property
    def by_hand(self) -> str:
        """What to do where no service manager is."""
        command = shlex.join(["agentbus", *self.words])
        return f"Run `{command}` by hand in a terminal, and keep that open."


def name(agent: str) -> str:
    """Return what the service of an agent's worker is called."""
    return f"agentbus-work-{agent}"


def unit(kept: Kept, given: Mapping[str, str]) -> str:
    """Return the text of systemd's unit; `given` is the environment that it sets.

    Raises:
        BadSetup: a word or a path has a control character in it, or is no UTF-8.
    """
    _check_words(kept)
    lines = (f"Environment={systemd.quoted(f'{key}={value}')}\n" for key, value in given.items())
    return _UNIT_TEXT.format(
        agent=kept.agent,
        command=systemd.command(*_command(kept)),
        folder=_unit_path(kept.folder),
        environ="".join(lines),
        stop_s=kept.stop_s,
    )


def plist(kept: Kept, given: Mapping[str, str]) -> bytes:
    """Return launchd's plist.

    Raises: as `unit`.
    """
    _check_words(kept)
    for value in (str(kept.folder), *given.values()):
        check_plain(value)
    content: dict[str, Any] = {
        "Label": _label(kept.agent),
        "ProgramArguments": _command(kept),
        "WorkingDirectory": str(kept.folder),
        "EnvironmentVariables": dict(given),
        "RunAtLoad": True,
        # Started again after a failure, not after an end that it was told.
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": kept.stop_s,
        "Umask": 0o077,
    }
    return plistlib.dumps(content)


def section(kept: Kept, given: Mapping[str, str]) -> str:
    """Return supervisor's section, which whoever runs supervisor puts into its configuration.

    Raises:
        BadSetup: as `unit`; or what supervisor cannot be given.
    """
    _check_words(kept)
    command = _command(kept)
    for value in (*command, str(kept.folder), *given.values()):
        check_plain(value)
        if _COMMENT.search(value):
            raise BadSetup(
                f"Supervisor cannot be given {value!r}, in which a comment begins for it behind "
                "the blank.",
                hint="Use --install alone, or put that into a script and name the script.",
            )
    variables = ",".join(f"{key}={_between_quotes(value)}" for key, value in given.items())
    lines = (
        f"[program:{kept.name}]",
        f"command={shlex.join(command).replace('%', '%%')}",
        f"directory={str(kept.folder).replace('%', '%%')}",
        # Whom the system knows by a number alone, as in a container, supervisor does not take.
        *([] if (login := places.login()).isdecimal() else [f"user={login}"]),
        f"environment={variables}",
        "autostart=true",
        "autorestart=unexpected",
        "stopsignal=TERM",
        f"stopwaitsecs={kept.stop_s}",
        "redirect_stderr=true",
    )
    return "\n".join(lines)


def install(
    kept: Kept, settings: Settings, form: Form | None = None, run: Run = run_program
) -> list[str]:
    """Have a worker kept, now and at each login; return what was done, or what is to be done.

    Args:
        kept: which worker.
        settings: by which it finds the bus.
        form: by what; this system's service manager, if it is not given.
        run: runs the service manager's programs.

    Raises:
        BadSetup: it does not answer this user, or did not take it; then all is as it was before.
    """
    given = environ(settings)
    form = form or ("launchd" if service.manager() is launchd else "systemd")
    if form == "supervisor":
        return [
            f"; For supervisor: put this into its folder of programs as {kept.name}.conf, then run",
            "; supervisorctl reread && supervisorctl update",
            section(kept, {"HOME": places.user_home(settings.environ), **given}),
            *(f"; {line}" for line in left_out(settings)),
        ]
    if form == "launchd":
        label = _label(kept.agent)
        done = launchd.keep(label, plist(kept, given), settings.environ, run, kept.by_hand)
        return [*done, *left_out(settings)]
    name, content = f"{kept.name}.service", unit(kept, given).encode()
    done = systemd.keep(name, content, settings.environ, run, kept.by_hand)
    return [*done, *left_out(settings), systemd.LINGER]


def uninstall(agent: str, settings: Settings, run: Run = run_program) -> list[str]:
    """Have the worker of an agent kept no more; return what was done.

    Raises:
        BadSetup: a file cannot be removed.
    """
    if service.manager() is launchd:
        return launchd.drop(_label(agent), settings.environ, run)
    return systemd.drop(f"{name(agent)}.service", settings.environ, run)


def kept_here(environ: Mapping[str, str]) -> list[str]:
    """Return the agents whose workers this user has systemd or launchd keep."""
    if service.manager() is launchd:
        files = launchd.plist_file(environ, _label("*"))
    else:
        files = systemd.unit_file(environ, f"{name('*')}.service")
    begin, end = files.name.split("*")
    there = (each.name for each in files.parent.glob(files.name))
    return sorted(filter(is_agent, (each.removeprefix(begin).removesuffix(end) for each in there)))


def _command(kept: Kept) -> list[str]:
    return programs.ourselves(*kept.words, python=sys.executable)


def _check_words(kept: Kept) -> None:
    """See that what is typed can stand in a service's file.

    Raises:
        BadSetup: it cannot.
    """
    for word in _command(kept):
        check_plain(
            word,
            "Write it in one line. An instruction of several, or another text, can stand in the "
            "file of `agentbus worker run --config FILE`.",
        )


def _label(agent: str) -> str:
    return f"dev.agentbus.work.{agent}"


def _unit_path(folder: Path) -> str:
    """Return a path as WorkingDirectory takes it: to the end of the line, without quotes."""
    check_plain(str(folder))
    return str(folder).replace("%", "%%")


def _between_quotes(text: str) -> str:
    """Return a value as supervisor reads it: there are no escapes but %% for %.

    Raises:
        BadSetup: it has both kinds of quotes in it.
    """
    quote = "'" if '"' in text else '"'
    if quote in text:
        raise BadSetup(
            f"Supervisor cannot be given {text!r}, which has both kinds of quotes in it.",
            hint="Use --install, or have the program itself set it.",
        )
    return f"{quote}{text.replace('%', '%%')}{quote}"
