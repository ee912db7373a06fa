# SPDX-License-Identifier: Apache-2.0
"""A task over and back between two real Claude Codes, set up as README says: what a person is asked."""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import claude_user
import pytest
from claude_user import QUESTION, at_model, begun, terminal
from local_server import script
from mcp_agentbus.installers.steps import Machine
from standin import ANSWERING, BLOCKED, UNANSWERED, Standin

pytestmark = pytest.mark.node

AGENTBUS = [sys.executable, "-m", "mcp_agentbus"]
FOLDERS = ("planner", "coder")
UNCHECKED = "Auto mode can't check actions in this session"
URGENT = {"to": "coder-claude", "subject": "hello", "body": "there", "priority": "high"}
SENDS, WAITS = ("send_task", URGENT), ("watch_inbox", {"timeout_s": 60})
MANUAL, DEFAULT = ("--permission-mode", "manual"), ()


@pytest.fixture(scope="module")
def user(claude, tmp_path_factory):
    """Somebody with two folders who has typed README's `agentbus setup --yes`, and nothing else."""
    place = tmp_path_factory.mktemp("user")
    managers = place / "managers"
    managers.mkdir()
    for manager in ("systemctl", "launchctl", "loginctl"):
        script(managers / manager, "exit 1")
    machine = claude_user.user(claude, place)
    environ = {**machine.environ, "PATH": f"{managers}:{machine.environ['PATH']}"}
    for name in FOLDERS:
        (place / name).mkdir()

    def typed(*words, check=True):
        subprocess.run(
            [*AGENTBUS, *words],
            env=environ, cwd=place, capture_output=True, check=check, timeout=120,
        )  # fmt: skip

    try:
        typed("setup", "--yes")
        yield SimpleNamespace(
            machine=Machine(replace(machine.settings, environ=environ)),
            folders={name: place / name for name in FOLDERS},
        )
    finally:
        typed("listen", "--stop", check=False)  # it may have ended with the last session
        typed("server", "stop")


@contextmanager
def session(user, name, model, mode):
    """Open a session in a folder; it has begun the plan of its model."""
    argv = [user.machine.program("claude"), *mode]
    environ = dict(at_model(user.machine, model).environ)
    with terminal(argv, user.folders[name], environ, beside=user.folders.values()) as screen:
        screen.shows("1 monitor")
        begun(screen, model)
        yield screen


def asked(screen):
    """Say yes whenever the session asks, until its turn ends; return how often it asked."""
    while screen.shows_one_of("DONE", QUESTION) == QUESTION:
        screen.answer(QUESTION, "1")
    return screen.asked


def over_and_back(user, mode, plan, checks):
    """Have the planner carry a plan out while a coder waits; its model and how often it was asked."""
    with (
        Standin(patient=True) as coders,
        Standin(plan, patient=True) as planners,
        session(user, "coder", coders, mode) as coder,
    ):
        coder.shows("DONE")
        coders.plan = ANSWERING  # once it is woken
        planners.checks = checks
        with session(user, "planner", planners, mode) as planner:
            return planners, asked(planner) + coder.asked


def results(model):
    """Return what the calls of a model came to, as it was shown them, in their order."""
    return [
        (block.get("is_error", False), json.dumps(block["content"]))
        for message in model.shown[-1]["messages"]
        for block in message["content"]
        if isinstance(block, dict) and block["type"] == "tool_result"
    ]


def test_a_person_is_asked_once_in_manual_mode_and_never_where_the_check_of_auto_mode_answers(
    user,
):
    listing = ("list_agents", {})

    manual, once = over_and_back(user, MANUAL, [listing, SENDS, WAITS], {})
    checks = {"toolu_1": BLOCKED, "toolu_2": UNANSWERED}
    plan = [listing, SENDS, SENDS, SENDS, WAITS]
    auto, never = over_and_back(user, DEFAULT, plan, checks)

    assert (once, never) == (1, 0)
    (_, sent, back) = results(manual)
    assert not sent[0]
    assert "done" in back[1]
    listed, blocked, unanswered, sent, back = results(auto)
    assert [failed for failed, _ in (listed, blocked, unanswered, sent, back)] == [
        False, True, True, False, False,
    ]  # fmt: skip
    assert BLOCKED["explanation"] in blocked[1]
    assert "done" in back[1]


def test_behind_a_gateway_without_that_check_auto_mode_asks_for_what_was_not_allowed(user):
    with Standin([("list_agents", {}), SENDS], patient=True) as model:
        model.checks = None
        with session(user, "planner", model, DEFAULT) as screen:
            screen.shows(UNCHECKED)
            screen.answer("Enter to stay in auto mode", "\r")
            lines = screen.shows(QUESTION, "Send a task")

    assert "don't ask again" not in "\n".join(lines)
    assert [failed for failed, _ in results(model)] == [False]  # what was allowed ran
