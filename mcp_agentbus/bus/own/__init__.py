# SPDX-License-Identifier: Apache-2.0
"""This user's own server, where it is not as it was started: its disk, its lock, its state."""
