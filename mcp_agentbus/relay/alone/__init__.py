# SPDX-License-Identifier: Apache-2.0
"""What a session has that its own process serves."""
