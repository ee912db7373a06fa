# SPDX-License-Identifier: Apache-2.0
"""How a user of another machine comes onto a shared server, and goes again."""
