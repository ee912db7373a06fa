# SPDX-License-Identifier: Apache-2.0
"""The options of `agentbus serve`: what is wrong with them is a fault that ends nothing."""

import pytest

from mcp_agentbus.cli.parser import parser
from mcp_agentbus.handoff import inbox
from mcp_agentbus.relay import options
from mcp_agentbus.relay.options import Serving

VARIABLE = "AGENTBUS_WATCH_MAX_S"


@pytest.mark.parametrize(
    ("argv", "environ", "asked"),
    [
        ([], {}, Serving()),
        (["--json"], {VARIABLE: ""}, Serving()),
        (["--agent", "coder"], {}, Serving("coder")),
        (["--agent=coder", "--watch-max=25"], {}, Serving("coder", 25)),
        (["--agent", "My Agent"], {}, Serving("My Agent")),  # the rule of ids says no, and why
        (["--agent", ""], {}, Serving("")),
        (["--watch-max", "2m"], {VARIABLE: "25"}, Serving(None, 120)),
        ([], {VARIABLE: "25s"}, Serving(None, 25)),
        (["--watch-max", "25"], {VARIABLE: "soon"}, Serving(None, 25)),
    ],
)
def test_what_makes_sense_is_read(argv, environ, asked):
    assert options.read(argv, environ) == asked


@pytest.mark.parametrize(
    ("argv", "environ", "said"),
    [
        (["--agnet", "coder"], {}, "takes no '--agnet'"),
        (["coder"], {}, "takes no 'coder'"),
        (["--agent"], {}, "--agent` was given no value"),
        (["--agent", "--json"], {}, "--agent` was given no value"),
        (["--watch-max", "soon"], {}, "--watch-max: 'soon' is no duration"),
        (["--watch-max", ""], {}, "--watch-max: '' is no duration"),
        (["--watch-max", "0"], {}, "--watch-max: '0' is not from 1s to 1h"),
        ([], {VARIABLE: "nan"}, f"{VARIABLE}: 'nan' is no duration"),
        (["--agent", "coder"], {VARIABLE: "2h"}, f"{VARIABLE}: '2h' is not from 1s to 1h"),
    ],
)
def test_what_does_not_is_a_fault_with_a_hint(argv, environ, said):
    fault = options.read(argv, environ).fault

    assert said in fault.message
    assert "agentbus serve [--agent ID] [--watch-max SECONDS]" in fault.hint


def test_the_parser_of_all_commands_knows_the_same_options():
    typed = parser().parse_args(["serve", "--agent", "coder", "--watch-max", "25", "--json"])

    assert (typed.agent, typed.watch_max) == ("coder", 25)
    assert parser().parse_args(["serve"]).watch_max == options.WATCH_MAX_S == inbox.WATCH_MAX_S
