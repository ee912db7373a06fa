# SPDX-License-Identifier: Apache-2.0
"""What a gate's book knows of who may write to whom."""

from __future__ import annotations

import pytest

from mcp_agentbus.gate.book import Book, Registration, Standing


@pytest.mark.parametrize(("granted", "accepted"), [({"lead"}, True), (set(), False)])
@pytest.mark.parametrize("inbox", ["builder", "role-build"])
def test_a_role_opens_an_inbox_to_whose_account_has_it_whatever_it_has_registered(
    inbox, granted, accepted
):
    book = Book(
        {
            "planner": Registration("laptop", ("lead",), ("*",), 1),
            "builder": Registration("vps", ("build",), ("role:lead",), 2),
        },
        {"laptop": Standing(frozenset(granted)), "vps": Standing(frozenset({"build"}))},
    )

    assert book.accepts(inbox, "planner") == accepted
