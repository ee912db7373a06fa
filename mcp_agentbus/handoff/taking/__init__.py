# SPDX-License-Identifier: Apache-2.0
"""What a call takes of tasks and results, and what becomes of it if nobody gets the answer."""
