# SPDX-License-Identifier: Apache-2.0
"""What is sent before it is on the bus: drawn up, and kept here while the bus is out of reach."""
