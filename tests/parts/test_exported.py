# SPDX-License-Identifier: Apache-2.0
"""The public names: whatever a call returns or takes, a program can name, too."""

import inspect
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import mcp_agentbus
from mcp_agentbus.handoff.call import Call

PUBLIC = {name: getattr(mcp_agentbus, name) for name in mcp_agentbus.__all__}
#: Of what is a connection, or does something, its methods are not all public.
DOES = {"Bus", "Session", "Worker", "Events"}
SHOWN = sorted(
    name
    for name, each in PUBLIC.items()
    if inspect.isfunction(each)
    or (inspect.isclass(each) and name not in DOES and not issubclass(each, BaseException))
)


def ours(hint: Any):
    """Yield the classes of this package that a type is made of."""
    if inspect.isclass(hint) and get_origin(hint) is None:
        if hint.__module__.startswith("mcp_agentbus."):
            yield hint
        return
    for part in get_args(hint):
        for each in part if isinstance(part, list) else [part]:
            yield from ours(each)


@pytest.mark.parametrize("name", SHOWN)
def test_what_it_takes_or_holds_can_be_imported(name):
    hints = get_type_hints(PUBLIC[name]).values()

    named = {each for hint in hints for each in ours(hint)}
    assert named - {*PUBLIC.values()} <= {Call}  # which the tools' own calls alone have


def test_only_what_the_roster_says_of_an_agent_has_another_name_here():
    classes = {name: each.__name__ for name, each in PUBLIC.items() if inspect.isclass(each)}

    assert {name: its for name, its in classes.items() if its != name} == {"RosterEntry": "Entry"}
