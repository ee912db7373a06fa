# SPDX-License-Identifier: Apache-2.0
"""What is left of the programs that a listener has woken."""
