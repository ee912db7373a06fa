# SPDX-License-Identifier: Apache-2.0
"""What was said to a worker's question: by its sender on the bus, by its own user beside it."""
