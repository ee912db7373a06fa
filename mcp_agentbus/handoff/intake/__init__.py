# SPDX-License-Identifier: Apache-2.0
"""What a reading takes from the inboxes, and what becomes of it if nobody gets the answer."""
