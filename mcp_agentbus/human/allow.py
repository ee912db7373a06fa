# SPDX-License-Identifier: Apache-2.0
"""A person lets a folder's file name its agent, and give it roles.

    >>> allow(settings, Path("/home/me/shop")).agent
    'reviewer'

It writes into the book of names alone.
"""

from __future__ import annotations

from pathlib import Path

from mcp_agentbus.config import folder_file, names
from mcp_agentbus.config.folder_file import FolderFile
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.feather import ancestors
from mcp_agentbus.errors import BadInput
from mcp_agentbus.human.person import check_is_person


def allow(settings: Settings, folder: Path) -> FolderFile:
    """Let the file of a folder count as it is now, and return it.

    A model reads of this in its answers, and a repository's file may be what asks for it.

    Args:
        settings: whose book it is.
        folder: its real path.

    Raises:
        Refused: it was not typed by a person, as far as that can be told.
        BadInput: the folder has no such file, or one that does not count.
        BadSetup: the file or the book of names makes no sense, or that one cannot be written.
    """
    check_is_person(settings.environ, ancestors.ancestors())
    file = folder_file.nearest(folder)
    if file.folder != folder:
        why = " ".join(folder_file.passed_over(folder)[:1])
        raise BadInput(
            why or f"There is no {folder / folder_file.FOLDER_FILE}.",
            hint="Name the folder in which the file lies, and that only you can write into.",
        )
    with names.writing(settings) as book:
        book.allowed[str(folder)] = file.asks
    return file
