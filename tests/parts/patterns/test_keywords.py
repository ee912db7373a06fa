# SPDX-License-Identifier: Apache-2.0
"""A keyword that a call does not take: refused with the nearest, before anything is done."""

import inspect
from types import SimpleNamespace

import pytest

import mcp_agentbus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput

#: By the name of a function whose keywords stand in a type: what it takes besides, a slip in a
#: keyword, and the one that is meant.
TYPED = {
    "send_task": (("coder", "Count", "them"), "expires_in", "expires_in_s"),
    "gather": (("coder", "Count", "them"), "prioriti", "priority"),
    "publish_result": (("9d0c2f1a", "completed"), "sumary", "summary"),
    "history": ((), "thread", "thread_id"),
}


def takes_any(function):
    kinds = [each.kind for each in inspect.signature(function).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


def test_these_are_all_whose_keywords_stand_in_a_type():
    public = {name: getattr(mcp_agentbus, name) for name in mcp_agentbus.__all__}

    assert {name for name, each in public.items() if inspect.isfunction(each) and takes_any(each)}\
        == set(TYPED)  # fmt: skip


@pytest.mark.parametrize("name", TYPED)
async def test_a_slip_is_refused_with_the_nearest_keyword(name):
    given, slip, meant = TYPED[name]
    nobody = SimpleNamespace(me=Agent("planner"), id="session-1", outbox=None)

    with pytest.raises(BadInput, match=f"takes no '{slip}'") as refused:
        await getattr(mcp_agentbus, name)(nobody, *given, **{slip: 60})

    assert refused.value.hint == f"Nearest: {meant}."


async def test_what_is_like_none_is_refused_with_all_there_are():
    with pytest.raises(BadInput) as refused:
        await mcp_agentbus.publish_result(None, "9d0c2f1a", "completed", x=1)

    assert refused.value.hint == "Known: summary, body, artifacts, progress."
