# SPDX-License-Identifier: Apache-2.0
"""What the archive's file is made of, and what is done about it where it fails."""
