# SPDX-License-Identifier: Apache-2.0
"""`python -m mcp_agentbus` is `agentbus`."""

from __future__ import annotations

import sys

from mcp_agentbus.cli import main

if __name__ == "__main__":
    sys.exit(main())
