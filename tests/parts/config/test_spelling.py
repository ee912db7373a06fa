# SPDX-License-Identifier: Apache-2.0
"""What a fresh install is called, by its folder and its host."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_agentbus.config import spelling
from mcp_agentbus.core import ids


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("shop", "shop-claude"),
        ("My Shop", "my-shop-claude"),
        ("shop.v2", "shop-v2-claude"),
        ("snake_case", "snake_case-claude"),
        ("-_shop_-", "shop-claude"),
        (".config", "config-claude"),
        ("Überblick", "berblick-claude"),
        ("бот", "agent-claude"),
        ("バス", "agent-claude"),
        ("👋", "agent-claude"),
        ("...", "agent-claude"),
        ("", "agent-claude"),
        (".", "agent-claude"),
        ("/", "agent-claude"),
        ("all", "all-claude"),
        ("system", "system-claude"),
        ("role", "my-role-claude"),
        ("role_", "my-role-claude"),
        ("Role!", "my-role-claude"),
        ("role-x", "my-role-x-claude"),
        ("roles", "roles-claude"),
        ("7", "7-claude"),
        ("two\nlines", "two-lines-claude"),
        ("s" * 300, "s" * 56 + "-claude"),
        ("role-" + "x" * 300, "my-role-" + "x" * 48 + "-claude"),
    ],
)
def test_a_fresh_install_is_called_by_its_folder_and_its_host(folder, expected):
    name = spelling.default_id(Path(folder), "claude-code")

    assert name == expected
    assert len(name) <= 63


@given(
    folder=st.text(st.characters(exclude_characters="/\0", codec="utf-8")),
    host=st.sampled_from(["shell", "cursor", "claude-code", "openclaw"]),
)
def test_every_folder_name_gives_an_id_that_may_be_used(folder, host):
    name = spelling.default_id(Path("/work") / folder, host)

    assert ids.agent_id(name) == name
