# SPDX-License-Identifier: Apache-2.0
"""What is read without claiming: how it is found, and whose it is."""
