# SPDX-License-Identifier: Apache-2.0
"""A command that was typed, on its way to the listener and back."""
