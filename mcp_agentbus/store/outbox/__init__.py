# SPDX-License-Identifier: Apache-2.0
"""What was sent while the bus was out of reach, as it lies on this machine."""
