# SPDX-License-Identifier: Apache-2.0
"""What the five tools do, for any host."""
