# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` looks at of what is stored on the bus, and what is left over there."""
