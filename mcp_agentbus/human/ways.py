# SPDX-License-Identifier: Apache-2.0
r"""By which program a person is told, and whether it can be started.

    >>> program(Human(command=("/home/me/bin/ring",)), "coder needs ...", environ)
    Program(argv=['/home/me/bin/ring'], stdin='coder needs ...\n')

Each way is a program, so that one that hangs is ended like any other. No shell reads what it is
started with; addresses, which are secrets, stay in their files.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from mcp_agentbus.config.sections.human import Human
from mcp_agentbus.core import programs
from mcp_agentbus.core.files import check_private, read_whole, unusable
from mcp_agentbus.core.programs import ourselves
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.human import address
from mcp_agentbus.wakes.hosts.protocol import on_path

_TITLE: Final = "agentbus"


class TapProgram(NamedTuple):
    """What is started to tell one line."""

    argv: list[str]
    stdin: str


def program(human: Human, line: str, environ: Mapping[str, str]) -> TapProgram:
    """Return the program that tells a line.

    Raises:
        BadSetup: it is not there, or its file of addresses cannot be used.
    """
    match human.by:
        case "desktop":
            return _desktop(line, environ)
        case "webhook":
            file = _addresses(human)
            address.of(file)
            return TapProgram(ourselves(str(file), module="mcp_agentbus.human.webhook"), line)
        case "apprise":
            argv = [_apprise(environ), f"--title={_TITLE}", f"--config={_addresses(human)}"]
            return TapProgram(argv, line)
    name, *arguments = human.command
    return TapProgram([_there(name, environ), *arguments], f"{line}\n")


def name(human: Human) -> str:
    """Return what a person calls the way."""
    return human.by or human.command[0]


def _desktop(line: str, environ: Mapping[str, str]) -> TapProgram:
    """Return what shows a notification; the line is this program's own words, see `needs`."""
    if sys.platform == "darwin":
        script = f'display notification "{line}" with title "{_TITLE}"'
        return TapProgram([_there("osascript", environ), "-"], script)
    argv = [_there("notify-send", environ), f"--app-name={_TITLE}", "--", _TITLE, line]
    return TapProgram(argv, "")


def _apprise(environ: Mapping[str, str]) -> str:
    """Return the program of apprise: the one that was installed along, or another on PATH."""
    ours = Path(sysconfig.get_path("scripts"), "apprise")
    if ours.is_file():
        return str(ours)
    try:
        return _there("apprise", environ)
    except BadSetup as error:
        raise BadSetup(
            error.message,
            hint=f"Install it beside agentbus: {programs.install_line('add', 'apprise')}",
        ) from None


def _there(program: str, environ: Mapping[str, str]) -> str:
    """Return where a program is.

    Raises:
        BadSetup: it is nowhere.
    """
    if path := on_path((program,), environ):
        return path
    raise BadSetup(
        f"{program} is not there, or is no program.",
        hint="Install it, or name another one under [human] in config.toml.",
    )


def _addresses(human: Human) -> Path:
    """Return the file of the addresses.

    Raises:
        BadSetup: it is not there, is open to others, or holds nothing.
    """
    assert human.url_file  # noqa: S101  # for mypy: the settings have it for these ways
    try:
        check_private(human.url_file)
        content = read_whole(human.url_file)
    except OSError as error:
        raise unusable(error, human.url_file, done="read") from None
    if not content.strip():
        raise BadSetup(f"{human.url_file} is empty.", hint="Put the address into it.")
    return human.url_file
