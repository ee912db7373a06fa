# SPDX-License-Identifier: Apache-2.0
"""A nats-server, and one connection to it that says what is not known."""
