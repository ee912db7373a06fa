# SPDX-License-Identifier: Apache-2.0
"""A command of another process, as it comes here."""
