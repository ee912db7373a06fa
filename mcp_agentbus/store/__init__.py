# SPDX-License-Identifier: Apache-2.0
"""How a task and an agent lie on the bus, and how they are read and written."""
