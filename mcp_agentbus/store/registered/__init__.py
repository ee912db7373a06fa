# SPDX-License-Identifier: Apache-2.0
"""What a registration says, and what of one stays whose agent is forgotten."""
