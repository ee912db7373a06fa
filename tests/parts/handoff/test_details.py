# SPDX-License-Identifier: Apache-2.0
"""What is said with a report is text that can be stored, or is refused."""

import pytest

from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.beside.details import checked


@pytest.mark.parametrize(
    ("what", "said"), [("summary", "\ud800"), ("body", "\ud800"), ("artifact", ["\ud800"])]
)
def test_what_utf_8_cannot_hold_is_refused_wherever_it_stands(what, said):
    field = "artifacts" if what == "artifact" else what
    with pytest.raises(BadInput, match=f"The {what} has half a surrogate pair"):
        checked("completed", {field: said})
