# SPDX-License-Identifier: Apache-2.0
"""What the archive's file is made of, what to do where it fails, and how one goes on in it."""
