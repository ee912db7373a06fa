# SPDX-License-Identifier: Apache-2.0
"""Words and machine that everybody needs; the standard library only."""
