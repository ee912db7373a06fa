# SPDX-License-Identifier: Apache-2.0
"""What a session does beside its calls: it says that it lives, and goes on where another ended."""
