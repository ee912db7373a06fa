# SPDX-License-Identifier: Apache-2.0
"""What a worker says of its task, and how it is checked."""
