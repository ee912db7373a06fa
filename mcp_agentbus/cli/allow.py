# SPDX-License-Identifier: Apache-2.0
"""`agentbus agent allow`: a person lets a folder's file name its agent, and give it roles.

    $ agentbus agent allow ~/shop
    /home/me/shop is allowed: its sessions are reviewer. ...

It writes into the book of names alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mcp_agentbus.cli.output import show
from mcp_agentbus.config import folder_file, names
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import places
from mcp_agentbus.core.feather import ancestors
from mcp_agentbus.errors import BadInput
from mcp_agentbus.human.person import check_is_person


def allow(args: argparse.Namespace, settings: Settings) -> None:
    """Let the file of a folder count, as it is now.

    A model reads this command in its answers, and a repository's file may be what asks for it.

    Raises:
        Refused: it was not typed by a person, as far as that can be told.
        BadInput: the folder has no such file, or one that does not count.
        BadSetup: the file or the book of names makes no sense, or that one cannot be written.
    """
    check_is_person(settings.environ, ancestors.ancestors())
    folder = Path(places.absolute(args.folder, settings.environ)).resolve()
    file = folder_file.nearest(folder)
    if file.folder != folder:
        why = " ".join(folder_file.passed_over(folder)[:1])
        raise BadInput(
            why or f"There is no {folder / folder_file.FOLDER_FILE}.",
            hint="Name the folder in which the file lies, and that only you can write into.",
        )
    with names.writing(settings) as book:
        book.allowed[str(folder)] = file.asks
    roles = [f"role:{role}" for role in file.roles]
    means = [f"its sessions are {file.agent}"] if file.agent else []
    means += [f"they read {', '.join(roles)}"] if roles else []
    show(
        args,
        f"{folder} is allowed: {' and '.join(means) or 'it asks for nothing'}. Sessions that are "
        "open learn of it when you start them again; what the file says later is asked again.",
        {"folder": str(folder), "agent": file.agent or None, "roles": list(file.roles)},
    )
