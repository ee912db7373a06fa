# SPDX-License-Identifier: Apache-2.0
"""What is typed after `agentbus server` about a server that several machines share."""
