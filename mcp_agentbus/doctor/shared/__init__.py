# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` looks at of a server for several machines."""
