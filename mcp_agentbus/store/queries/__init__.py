# SPDX-License-Identifier: Apache-2.0
"""What is read of many at the cost of few: a task's records at once, a stream as it has changed."""
