# SPDX-License-Identifier: Apache-2.0
"""The listener hands on what was sent while the bus was out of reach."""
