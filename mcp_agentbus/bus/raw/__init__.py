# SPDX-License-Identifier: Apache-2.0
"""Messages that pass through whole: as bytes, which nobody here reads or rewrites."""
