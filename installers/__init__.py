# SPDX-License-Identifier: Apache-2.0
"""One module per host that agentbus can connect; packaged as `mcp_agentbus.installers`."""
