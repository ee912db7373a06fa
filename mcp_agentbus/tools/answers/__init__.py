# SPDX-License-Identifier: Apache-2.0
"""What the tools answer, as text for a model or a person and as data for a program."""
