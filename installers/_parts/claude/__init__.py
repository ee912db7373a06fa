# SPDX-License-Identifier: Apache-2.0
"""What the installer of Claude Code is made of."""
