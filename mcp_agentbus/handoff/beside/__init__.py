# SPDX-License-Identifier: Apache-2.0
"""What agents tell each other beside a task and its result."""
