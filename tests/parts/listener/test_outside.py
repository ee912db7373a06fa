# SPDX-License-Identifier: Apache-2.0
"""What a sandbox that reaches no server is told where a listener runs outside of it."""

import pytest

from mcp_agentbus.bus import reach
from mcp_agentbus.cli import main
from mcp_agentbus.doctor import self_test
from mcp_agentbus.errors import BadSetup, OutOfReach
from mcp_agentbus.listener.carried import outside
from mcp_agentbus.relay import seat

AWAY = OutOfReach("It runs outside.", hint=reach.LISTEN)


@pytest.fixture
def apart(settings, monkeypatch):
    """A listener that seems to run in another network than this process."""
    with seat.taken(settings) as is_free:
        assert is_free
        monkeypatch.setattr(outside.processes, "network", lambda: "net:[1]")
        yield


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(
    ("command", "told"),
    [("clear", "does not do this command: run it outside"), ("send", "another TZ than it has")],
)
def test_whoever_has_a_listener_outside_is_not_told_to_start_one(settings, command, told):
    error = outside.beside(AWAY, settings, command)

    assert (error.message, type(error)) == (AWAY.message, OutOfReach)
    assert error.hint.startswith("A listener (pid ")
    assert told in error.hint


def test_who_has_none_or_one_in_here_is_told_to_start_one_outside(settings):
    assert outside.beside(AWAY, settings) is AWAY
    with seat.taken(settings):
        assert outside.beside(AWAY, settings) is AWAY


@pytest.mark.parametrize(
    "refusal", [PermissionError(13, "Permission denied"), BadSetup("It is another user's.")]
)
def test_where_the_sandbox_forbids_to_look_for_one_the_error_is_said_as_it_is(
    settings, monkeypatch, refusal
):
    """It was a traceback."""

    def forbidden(_):
        raise refusal

    monkeypatch.setattr(outside.seat.locks, "is_held", forbidden)

    assert outside.beside(AWAY, settings, "clear") is AWAY


@pytest.mark.usefixtures("apart")
def test_what_is_no_listeners_to_mend_is_said_as_it_is(settings):
    other = OutOfReach("It runs elsewhere.", hint="Run: kill 7")

    assert outside.beside(other, settings) is other


@pytest.mark.usefixtures("apart")
def test_a_command_says_so(settings, monkeypatch, capsys):
    def away(_):
        raise AWAY

    for name, value in settings.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("mcp_agentbus.cli.rooms.events", away)

    assert main.main(["events", "publish", "build.done", "x"]) == OutOfReach.exit_code
    assert "runs outside, and does not do this command" in capsys.readouterr().err


@pytest.mark.usefixtures("apart")
async def test_a_self_test_does_not_say_that_a_server_out_of_reach_does_not_run(
    settings, monkeypatch
):
    monkeypatch.setattr(self_test.embedded, "absence", lambda _: AWAY)

    with pytest.raises(OutOfReach, match="It runs outside"):
        await self_test._server(settings)
