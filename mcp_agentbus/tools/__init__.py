# SPDX-License-Identifier: Apache-2.0
"""The five tools as MCP tools, as commands, and their answers as text."""
