# SPDX-License-Identifier: Apache-2.0
"""A bus that several machines share, as whoever runs it needs it: set up, backed up, restored."""
