# SPDX-License-Identifier: Apache-2.0
"""`agentbus join` and `agentbus leave`: to be an account of a shared server, and to be none."""
