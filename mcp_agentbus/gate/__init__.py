# SPDX-License-Identifier: Apache-2.0
"""The gate of a shared server: what accounts may say and read, and what sees to it."""
