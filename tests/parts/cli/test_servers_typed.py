# SPDX-License-Identifier: Apache-2.0
"""What `agentbus server accounts` does not do, and says before anything is done."""

import pytest

from mcp_agentbus.cli.parser import parser
from mcp_agentbus.cli.servers import accounts
from mcp_agentbus.errors import BadInput


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--revoke", "Which account is to change"),
        ("pi --role ops --revoke", "one at a time. Nothing was done."),
        ("pi --no-all --readmit", "one at a time. Nothing was done."),
        ("pi --readmit --revoke", "one at a time. Nothing was done."),
    ],
)
def test_of_an_account_one_thing_is_changed_at_a_time(typed, said):
    args = parser().parse_args(["server", "accounts", *typed.split()])

    with pytest.raises(BadInput, match=said):
        accounts.accounts(args)
