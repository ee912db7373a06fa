# SPDX-License-Identifier: Apache-2.0
"""`agentbus`, and `python -m mcp_agentbus`: a session at once, everything else by way of `cli`."""

from __future__ import annotations

import sys


def main() -> int:
    """Do what the command line says; return the exit code."""
    match sys.argv[1:]:
        # What hosts start. Parsing it would load a third of what a relayed session weighs.
        case ["serve"]:
            return _serve(None)
        case ["serve", "--agent", agent] if not agent.startswith("-"):
            return _serve(agent)
        # What hosts start at each turn.
        case ["hook", *rest]:
            from mcp_agentbus.relay import hook

            return hook.run(rest)
    from mcp_agentbus.cli.main import main

    return main()


def _serve(agent: str | None) -> int:
    from mcp_agentbus.errors import AgentbusError
    from mcp_agentbus.relay import session

    try:
        return session.run(agent)
    except AgentbusError as error:
        from mcp_agentbus.cli.main import complain

        return complain(error)


if __name__ == "__main__":
    sys.exit(main())
