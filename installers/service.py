# SPDX-License-Identifier: Apache-2.0
"""The service manager of this system, which keeps a listener running.

    >>> manager().NAME
    'systemd'

Whether it keeps one is `relay.starter.keeps`, which sessions ask, too.
"""

from __future__ import annotations

from types import ModuleType

from mcp_agentbus.installers import launchd, systemd

from mcp_agentbus.relay import starter


def manager() -> ModuleType:
    """Return the module for this system's service manager, whether or not that answers.

    Both have NAME, LOG (the command that shows what the listener wrote, if one does), `install`,
    `plan`, which returns what that would do, `uninstall`, `restart`, which returns the command that
    starts the listener anew, `is_current`, which tells whether `install` would write the same
    again, and `program`, which returns what the service starts by its path, if it says so.
    """
    return launchd if starter.by_launchd() else systemd
