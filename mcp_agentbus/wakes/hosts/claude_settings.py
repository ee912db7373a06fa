# SPDX-License-Identifier: Apache-2.0
"""The settings of one run of Claude Code that reads its folder and answers, and does nothing else.

    >>> file = write(call)      # 0600; for `--setting-sources "" --settings FILE`
    >>> json.loads(file.read_bytes())["env"]
    {'ANTHROPIC_API_KEY': 'sk-...'}

Of the user's own settings it has what logs in and chooses the model; of the folder's nothing. What
may be read stands beside what may not: if the file is not read, nothing is allowed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.config import claude_user
from mcp_agentbus.config.settings import settings_or_defaults
from mcp_agentbus.core import places
from mcp_agentbus.core.files import write_whole
from mcp_agentbus.wakes.hosts import secret_files
from mcp_agentbus.wakes.hosts.protocol import WakeOrder

# The keys of its settings that log in, and those that choose the model.
_CARRIED: Final = (
    *("apiKeyHelper", "awsAuthRefresh", "awsCredentialExport", "gcpAuthRefresh"),
    *("proxyAuthHelper", "forceLoginMethod", "forceLoginOrgUUID"),
    *("model", "fallbackModel", "availableModels", "modelOverrides", "effortLevel"),
)
# It goes to the user's own servers and folders by itself; nobody is there who would want it.
_OFF: Final = {
    "disableAllHooks": True,
    # What the user's other sessions have noted of the folder.
    "autoMemoryEnabled": False,
    # By git, which runs what a repository's configuration says.
    "includeGitInstructions": False,
}
# `./` is where it is started. A link that leads out is denied, as every path outside is.
_READ: Final = "./**"


def write(call: WakeOrder) -> Path:
    """Write the settings of a run; return their file, which the caller removes.

    An agent has one run at a time, so what an earlier one has left is replaced.

    Raises:
        OSError: it cannot be written.
        BadSetup: there is no home.
    """
    file = _file(call.rules.agent, call.environ)
    places.make_private(file.parent)
    write_whole(file, json.dumps(settings(call)).encode(), durable=False)
    return file


def remove(agent: str, environ: Mapping[str, str]) -> None:
    """Remove the file of an agent's run that is over, if one is there.

    Raises:
        OSError: it cannot be removed.
        BadSetup: there is no home.
    """
    _file(agent, environ).unlink(missing_ok=True)


def settings(call: WakeOrder) -> dict[str, Any]:
    """Return what the run's settings say."""
    given = claude_user.settings(call.environ)
    denied = (*secret_files.patterns(call.rules.folder), *_private(call.environ))
    return {
        **{name: given[name] for name in _CARRIED if name in given},
        **_OFF,
        "env": claude_user.environ_of(given, call.environ),
        "permissions": {
            "allow": [f"Read({_READ})"],
            "deny": [f"Read({pattern})" for pattern in denied],
        },
    }


def _file(agent: str, environ: Mapping[str, str]) -> Path:
    return Path(places.runtime_folder(environ)) / f"answer-{agent}.json"


def _private(environ: Mapping[str, str]) -> list[str]:
    """Return what nobody reads for a peer, also where it is in the agent's own folder."""
    # Claude Code's has the transcripts of all sessions of a folder, which it may read by itself.
    folders = (claude_user.folder(environ), *places.own_folders(environ))
    mine = settings_or_defaults(environ)
    tokens = (rules.token_file for rules in mine.rules.values())
    files = filter(None, (*mine.secret_files, mine.human.url_file, *tokens))
    return [*(f"{path}/**" for path in _absolute(folders)), *_absolute(files)]


def _absolute(paths: Iterable[str | Path]) -> list[str]:
    """Return patterns of these paths, and of what they are links to."""
    named = {os.path.abspath(path) for path in paths}  # noqa: PTH100
    named |= {os.path.realpath(path) for path in named}
    return [f"/{secret_files.plain(path)}" for path in sorted(named)]
