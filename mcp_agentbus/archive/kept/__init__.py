# SPDX-License-Identifier: Apache-2.0
"""What the archive's file is made of, what goes from it, and how one looks for what is in it."""
