# SPDX-License-Identifier: Apache-2.0
"""What goes along with a restore, and outlives one that is broken off."""
