# SPDX-License-Identifier: Apache-2.0
"""Every error that the package knows, whichever of its modules other tests have loaded.

>>> BusUnreachable in ALL
True
"""

import importlib
import pkgutil

import mcp_agentbus
from mcp_agentbus.errors import AgentbusError


def _below(error):
    return {one for child in error.__subclasses__() for one in (child, *_below(child))}


for module in pkgutil.walk_packages(mcp_agentbus.__path__, "mcp_agentbus."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
#: In the order of their names; those of tests are none.
ALL = sorted(
    (one for one in _below(AgentbusError) if one.__module__.startswith("mcp_agentbus.")),
    key=lambda one: one.__name__,
)
