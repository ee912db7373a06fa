# SPDX-License-Identifier: Apache-2.0
"""What a call takes from the inboxes, and what becomes of it if nobody gets the answer."""
