# SPDX-License-Identifier: Apache-2.0
"""Tasks that were set aside: how they come there, and how they are offered again."""
