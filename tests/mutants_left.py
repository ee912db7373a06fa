# SPDX-License-Identifier: Apache-2.0
"""Mutants that no test can notice, or need notice: what is broken, and why that is nothing."""

#: By `Mutant.key`: the file, the line as it stands, and what becomes of it.
LEFT: dict[str, str] = {}
