# SPDX-License-Identifier: Apache-2.0
"""The processes that hosts and shells start; they pass their work to the listener."""
