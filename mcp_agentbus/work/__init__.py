# SPDX-License-Identifier: Apache-2.0
"""A session that does an agent's tasks by itself: by a program of its user's, or by a function."""
