# SPDX-License-Identifier: Apache-2.0
"""A task's way, shown."""
