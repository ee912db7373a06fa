# SPDX-License-Identifier: Apache-2.0
"""Commands that a listener does for those who have typed them, and what is left to do there."""
