# SPDX-License-Identifier: Apache-2.0
"""What of the bus needs a person, and how this user is told of it."""
