# SPDX-License-Identifier: Apache-2.0
"""What became of the tasks that an agent sent, on the way to it."""
