# SPDX-License-Identifier: Apache-2.0
"""What `agentbus agent` says of the agents that it was typed for."""
