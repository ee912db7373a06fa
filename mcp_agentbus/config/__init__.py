# SPDX-License-Identifier: Apache-2.0
"""What the user has set, read and checked, and who a session is."""
