# SPDX-License-Identifier: Apache-2.0
"""What can be typed, and which room does it."""
