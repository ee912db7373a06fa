# SPDX-License-Identifier: Apache-2.0
"""Which agent a session is: by what its user gave, by files, by its folder.

    >>> who(settings, folder=Path("/home/me/shop")).id
    'shop-claude'

A folder's own file says who works there, and nothing of what may wake them: it comes with other
people's code. Nobody is registered here, and no file is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.config.tables import Key, checked, of_type, read_toml, readers
from mcp_agentbus.core import hosts, places
from mcp_agentbus.core.ids import ROLE_PREFIX, Agent, agent_id, is_inbox, role_name

FOLDER_FILE: Final = ".agentbus.toml"
#: Every key of a FOLDER_FILE.
FOLDER_KEYS: Final = (
    Key("agent", of_type(str), Agent,
        "Who a session in this folder, or below it, is.",
        '"reviewer"', "the folder's name with the host's", field="id"),
    Key("description", of_type(str), Agent,
        "One line for `list_agents`.",
        '"Reviews changes of the shop"', "none"),
    Key("roles", of_type(list), Agent,
        "Shared inboxes that it reads besides its own: `role:NAME`.",
        '["review"]', "none"),
)  # fmt: skip
_IN_FOLDER: Final = readers(FOLDER_KEYS)


def who(settings: Settings, given: str | None = None, folder: Path | None = None) -> Agent:
    """Tell which agent a session in `folder` is.

    In this order: `given` (--agent), AGENTBUS_AGENT, the nearest .agentbus.toml above the folder,
    the agent that `agentbus agent add` has set up for this very folder and host, else the folder's
    name with the host's, such as `shop-claude`.

    Raises:
        BadInput: the id that was found may not name an agent.
        BadSetup: the .agentbus.toml is not TOML, or a value in it has the wrong type.
    """
    host = host_of(settings.environ)
    folder = (folder or Path(places.working_folder(settings.environ))).resolve()
    local = _nearest(folder)
    name = given or settings.environ.get("AGENTBUS_AGENT") or local.get("agent")
    name = name or _set_up_for(settings, folder, host)
    agent = agent_id(str(name)) if name else default_id(folder, host)
    known = settings.agents.get(agent, Agent(agent))
    if (local.get("agent") or agent) != agent:
        local = {}  # it describes somebody else
    return Agent(
        id=agent,
        host=host,
        description=str(local.get("description") or known.description),
        roles=tuple(role_name(str(role)) for role in local.get("roles") or known.roles),
    )


def host_of(environ: Mapping[str, str]) -> str:
    """Tell which host's process this environment belongs to; `shell` if none is known."""
    given = environ.get("AGENTBUS_HOST", "")
    if is_inbox(given):
        return given
    host = hosts.marked(environ)
    return host.name if host else "shell"


def _set_up_for(settings: Settings, folder: Path, host: str) -> str | None:
    """Return the agent that a wake would start in this folder, by this host; None unless one is."""
    agents = [
        rules.agent
        for rules in settings.rules.values()
        if rules.host == host and rules.folder.resolve() == folder
    ]
    return agents[0] if len(agents) == 1 else None


def default_id(folder: Path, host: str) -> str:
    """Return an id made of the folder's name and the host's: `shop-claude`."""
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.name.lower()).strip("-_") or "agent"
    suffix = host.partition("-")[0]
    # 63 characters are the limit of an id.
    name = name[: 62 - len(suffix)]
    if f"{name}-".startswith(ROLE_PREFIX):  # reserved, and so is what a folder `role` would give
        name = f"my-{name}"[: 62 - len(suffix)]
    return agent_id(f"{name}-{suffix}")


def _nearest(folder: Path) -> dict[str, Any]:
    """Return what the FOLDER_FILE of this folder says, or of the nearest one above that has one."""
    for above in (folder, *folder.parents):
        file = above / FOLDER_FILE
        if file.is_file():
            table = read_toml(file, private=False)
            # It travels with the code, so a key that is unknown here may be a newer version's.
            known = {key: value for key, value in table.items() if key in _IN_FOLDER}
            return checked(known, _IN_FOLDER, str(file))
    return {}
