# SPDX-License-Identifier: Apache-2.0
"""What a restore has to know of the bus that it replaces, to carry over, and to tell of it."""
