# SPDX-License-Identifier: Apache-2.0
"""`agentbus serve` as a host's entry starts it: it answers calls, however it was started."""

import sys
import time

import pytest
import served
from served import AGENTBUS, MODERN, Pipes

NO_ACCOUNT = (
    "import pwd, sys\n"
    "def nobody(_): raise KeyError\n"
    "pwd.getpwuid = nobody\n"
    "from mcp_agentbus.__main__ import main\n"
    "sys.argv[1:] = ['serve']\n"
    "sys.exit(main())"
)


def refused(session, tool="read_inbox", **arguments):
    params = {"name": tool, "arguments": arguments}
    answer = session.ask("tools/call", params, era=MODERN)["result"]
    assert answer["isError"]
    return answer["content"][0]["text"]


@pytest.mark.parametrize(
    ("argv", "more", "said"),
    [
        (["--agent", "My Agent"], {}, "'My Agent' is not an agent id."),
        (["--agnet", "coder"], {}, "`agentbus serve` takes no '--agnet'."),
        (["--agent"], {}, "`agentbus serve --agent` was given no value."),
        (["--watch-max", "soon"], {}, "--watch-max: 'soon' is no duration"),
        ([], {"AGENTBUS_WATCH_MAX_S": "-1"}, "AGENTBUS_WATCH_MAX_S: '-1' is no duration"),
        ([], {"AGENTBUS_URL": "http://bus"}, "AGENTBUS_URL is not a nats:// or tls:// URL."),
        ([], {"AGENTBUS_USER": "me"}, "has AGENTBUS_USER and no AGENTBUS_PASSWORD_FILE."),
    ],
)
def test_what_makes_no_sense_is_told_to_the_model_by_each_call(home, way, argv, more, said):
    environ = served.environ(home.data_dir.parent) | more
    with Pipes(environ, [*AGENTBUS, "serve", *argv]) as session:
        session.greet(MODERN)
        tools = session.ask("tools/list", era=MODERN)["result"]["tools"]
        for _ in range(2):
            assert said in (text := refused(session))
            assert " Hint: " in text
        log = session.said()

    assert len(tools) == 5
    assert said in log  # for whoever reads the host's


def test_without_any_home_the_model_is_told_so(tmp_path):
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": served.PACKAGE, "AGENTBUS_LISTENER": "off"}
    with Pipes(environ, [sys.executable, "-c", NO_ACCOUNT], cwd=tmp_path) as session:
        session.greet(MODERN)
        text = refused(session)

    assert "There is no home folder" in text
    assert "AGENTBUS_HOME" in text


def watched(session, **arguments):
    """Return what an empty inbox answers, and after how many seconds."""
    began = time.monotonic()
    text = session.call("watch_inbox", **arguments)["content"][0]["text"]
    return text, time.monotonic() - began


@pytest.mark.parametrize(
    ("argv", "more"),
    [(["--watch-max", "1s"], {"AGENTBUS_WATCH_MAX_S": "50"}), ([], {"AGENTBUS_WATCH_MAX_S": "1"})],
    ids=["option", "variable"],
)
def test_a_cap_on_waiting_holds_and_stands_in_the_schema(home, way, argv, more):
    environ = served.environ(home.data_dir.parent) | more
    agent = ["--agent", f"capped-{way}"]
    with Pipes(environ, [*AGENTBUS, "serve", *agent, *argv]) as session:
        session.greet(MODERN)
        tools = session.ask("tools/list", era=MODERN)["result"]["tools"]
        [schema] = [tool["inputSchema"] for tool in tools if tool["name"] == "watch_inbox"]
        default, default_s = watched(session)
        longer, longer_s = watched(session, timeout_s=45)

    assert schema["properties"]["timeout_s"] == {
        "type": "number", "minimum": 0, "maximum": 1, "default": 1,
    }  # fmt: skip
    assert "timed out" in default
    assert "at most" not in default
    assert "A call waits for 1 s at most here." in longer
    assert default_s < 20
    assert longer_s < 20


def test_one_sessions_cap_is_no_other_ones(home, way):
    environ = served.environ(home.data_dir.parent)
    with (
        Pipes(environ, [*AGENTBUS, "serve", "--watch-max", "25"]) as capped,
        Pipes(environ, [*AGENTBUS, "serve"]) as free,
    ):
        most = []
        for session in (capped, free):
            session.greet(MODERN)
            tools = session.ask("tools/list", era=MODERN)["result"]["tools"]
            [schema] = [tool["inputSchema"] for tool in tools if tool["name"] == "watch_inbox"]
            waits = schema["properties"]["timeout_s"]
            most.append((waits["default"], waits["maximum"]))

    assert most == [(25, 25), (45, 3600)]
