# SPDX-License-Identifier: Apache-2.0
"""Which share of the bus's room each account has, where it grows full."""
