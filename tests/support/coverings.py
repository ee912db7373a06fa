# SPDX-License-Identifier: Apache-2.0
"""Notes of which test runs which lines, as `covering` writes them."""

import sqlite3

from mutants import Lines


def noted(folder, *rows):
    """Write what `covering` would write: of each row a file, a test, and the lines that it runs."""
    with sqlite3.connect(folder / "lines.1") as notes:
        notes.executescript(
            "CREATE TABLE file (id, path); CREATE TABLE context (id, context);"
            "CREATE TABLE line_bits (file_id, context_id, numbits)"
        )
        for number, (file, test, lines) in enumerate(rows):
            bits = sum(1 << line for line in lines).to_bytes(8, "little")
            notes.execute("INSERT INTO file VALUES (?, ?)", (number, file))
            notes.execute("INSERT INTO context VALUES (?, ?)", (number, test))
            notes.execute("INSERT INTO line_bits VALUES (?, ?, ?)", (number, number, bits))
    return Lines(folder)
