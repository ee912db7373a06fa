# SPDX-License-Identifier: Apache-2.0
"""Programs that this process starts, with all that they start in turn; its files and threads."""
