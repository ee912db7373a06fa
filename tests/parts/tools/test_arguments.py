# SPDX-License-Identifier: Apache-2.0
"""What clients write for an argument is taken if it has one meaning, and is left as it is if not."""

import math

import pytest

from mcp_agentbus.tools.arguments import as_meant
from mcp_agentbus.tools.catalog import TOOLS

NOT_GIVEN = object()
DEEP = "[" * 100_000

# The tool, an argument, what a client writes for it, and what is meant.
SPELLED = [
    ("send_task", "to", '["coder", "role:review"]', ["coder", "role:review"]),
    ("send_task", "to", "coder, role:review", ["coder", "role:review"]),
    ("send_task", "to", "coder", "coder"),
    ("send_task", "to", ["coder", None, "", 7], ["coder", "7"]),
    ("send_task", "to", 7, ["7"]),
    ("send_task", "to", "[coder", "[coder"),
    ("send_task", "to", '"coder"', "coder"),
    ("send_task", "to", '"coder', '"coder'),
    ("send_task", "to", DEEP, DEEP),
    ("send_task", "to", {"0": "coder"}, {"0": "coder"}),
    ("send_task", "subject", 7, "7"),
    ("send_task", "subject", 7.5, "7.5"),
    ("send_task", "subject", True, "true"),
    ("send_task", "subject", None, NOT_GIVEN),
    ("send_task", "subject", "", ""),
    ("send_task", "body", "null", "null"),
    ("send_task", "body", ["a"], ["a"]),
    ("send_task", "priority", "HIGH", "high"),
    ("send_task", "priority", " Low\n", "low"),
    ("send_task", "priority", "", NOT_GIVEN),
    ("send_task", "priority", None, NOT_GIVEN),
    ("send_task", "priority", "any", NOT_GIVEN),
    ("send_task", "priority", "none", NOT_GIVEN),
    ("send_task", "priority", True, True),
    ("send_task", "notify", "null", NOT_GIVEN),
    ("send_task", "notify", "none", "none"),  # it may be `never`
    ("send_task", "expect", "undefined", NOT_GIVEN),
    ("send_task", "expect", "none", "none"),  # or `nothing`
    ("send_task", "content_type", "null", NOT_GIVEN),
    ("send_task", "task_type", "", NOT_GIVEN),
    ("send_task", "task_type", "none", "none"),
    ("send_task", "thread_id", "None", NOT_GIVEN),
    ("send_task", "thread_id", "  ", NOT_GIVEN),
    ("send_task", "thread_id", 12, "12"),
    ("send_task", "thread_id", 0, "0"),
    ("send_task", "in_reply_to", "null", NOT_GIVEN),
    ("send_task", "request_id", "", NOT_GIVEN),
    ("send_task", "expires_in_s", 0, NOT_GIVEN),
    ("send_task", "expires_in_s", "0", NOT_GIVEN),
    ("send_task", "expires_in_s", "", NOT_GIVEN),
    ("send_task", "expires_in_s", False, False),
    ("send_task", "expires_in_s", "60", 60),
    ("send_task", "expires_in_s", "2d", 172_800),
    ("send_task", "expires_in_s", "soon", "soon"),
    ("send_task", "expires_in_s", 90.5, 91),
    ("send_task", "expires_in_s", 0.4, 1),
    ("send_task", "expires_in_s", math.inf, math.inf),
    ("watch_inbox", "timeout_s", 90.5, 90.5),
    ("read_inbox", "limit", 1.5, 1.5),
    ("send_task", "deliver_in_s", 0.0, NOT_GIVEN),
    ("send_task", "deliver_in_s", -1, -1),
    ("send_task", "urgent", None, None),
    ("read_inbox", "limit", 0, NOT_GIVEN),
    ("read_inbox", "limit", "2m", "2m"),
    ("watch_inbox", "timeout_s", "2m", 120),
    ("read_inbox", "limit", "", NOT_GIVEN),
    ("read_inbox", "peek", "", NOT_GIVEN),
    ("read_inbox", "peek", None, NOT_GIVEN),
    ("read_inbox", "detail", "Full", "full"),
    ("read_inbox", "detail", "none", NOT_GIVEN),
    ("read_inbox", "view", "null", NOT_GIVEN),
    ("read_inbox", "view", "any", "any"),
    ("read_inbox", "cursor", 2000, "2000"),
    ("watch_inbox", "timeout_s", 0, 0),
    ("watch_inbox", "timeout_s", None, NOT_GIVEN),
    ("watch_inbox", "priority", "Any", "any"),
    ("watch_inbox", "priority", "null", NOT_GIVEN),
    ("watch_inbox", "timeout_s", "null", NOT_GIVEN),
    ("list_agents", "limit", 0, NOT_GIVEN),
    ("list_agents", "limit", "none", NOT_GIVEN),
    ("list_agents", "include_offline", "null", NOT_GIVEN),
    ("list_agents", "query", "none", "none"),
    ("list_agents", "query", 7, "7"),
    ("publish_result", "status", "Needs approval", "needs_approval"),
    ("publish_result", "status", "NEEDS-APPROVAL", "needs_approval"),
    ("publish_result", "status", "done", "done"),
    ("publish_result", "status", "null", "null"),
    ("publish_result", "status", "", ""),
    ("publish_result", "artifacts", "a, b.py", ["a, b.py"]),
    ("publish_result", "artifacts", '["a", 1]', ["a", "1"]),
    ("publish_result", "artifacts", "[a].py", ["[a].py"]),
    ("publish_result", "artifacts", "", NOT_GIVEN),
    ("publish_result", "artifacts", "null", NOT_GIVEN),
    ("publish_result", "progress", 0, NOT_GIVEN),
    ("publish_result", "progress", "50", "50"),
]


@pytest.mark.parametrize(
    ("tool", "name", "written", "meant"),
    [pytest.param(*case, id=f"{case[1]}-{case[2]!r}"[:40]) for case in SPELLED],
)
def test_an_argument_is_read_as_it_was_meant(tool, name, written, meant):
    read = as_meant(TOOLS[tool].args, {name: written})

    assert read.get(name, NOT_GIVEN) == meant


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize("tool", TOOLS.values(), ids=lambda tool: tool.name)
def test_whatever_may_be_left_out_may_be_null_and_may_be_an_empty_text(tool, empty):
    optional = [key for key, field in tool.args.model_fields.items() if not field.is_required()]

    assert as_meant(tool.args, dict.fromkeys(optional, empty)) == {}


@pytest.mark.parametrize(
    ("arguments", "may_repeat"),
    [
        ({"request_id": "checkout-313"}, True),
        ({"request_id": 313}, True),
        ({"request_id": ""}, False),
        ({"request_id": "null"}, False),
        ({}, False),
    ],
)
def test_only_what_stands_for_a_request_id_makes_a_repeated_send_safe(arguments, may_repeat):
    assert TOOLS["send_task"].may_repeat(arguments) is may_repeat
    assert TOOLS["publish_result"].may_repeat(arguments)
