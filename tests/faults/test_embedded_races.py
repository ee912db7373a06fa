# SPDX-License-Identifier: Apache-2.0
"""Many processes need the server at once, and some die on the way: there is exactly one."""

import os
import random
import signal

import pytest
from local_server import Crowd, is_gone, kill_servers, run_crowd, server_folder, server_pids, until

from mcp_agentbus.bus import embedded

PROCESSES = 8


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def settings(home):
    with server_folder(home) as settings:
        yield settings


def assert_one_working_server(settings):
    server = embedded.ensure(settings)
    assert server_pids(settings) == [server.pid]
    assert embedded.find(settings) == embedded.Server(server.url, server.pid)
    # It is ours alone: a token that was lost half-written would have left it open.
    assert not embedded._answers(server.url, "")
    assert not embedded._answers(server.url, "A" * 43)


def assert_one_started_it(answers, settings):
    assert sorted(how for how, *_ in answers) == ["found"] * (PROCESSES - 1) + ["started"]
    assert len({url for _, _, url, _ in answers}) == 1
    assert {int(pid) for _, pid, *_ in answers} == set(server_pids(settings))
    assert len(server_pids(settings)) == 1


def test_of_eight_processes_at_once_one_starts_the_server_and_seven_find_it(home, settings):
    answers = run_crowd(home, [None] * PROCESSES)

    assert_one_started_it(answers, settings)


def test_the_server_outlives_all_processes_that_asked_for_it(home, settings):
    run_crowd(home, [None] * 2)

    server = embedded.find(settings)

    assert server is not None
    assert os.getsid(server.pid) == server.pid


def test_after_the_server_was_killed_eight_at_once_start_one_on_the_same_port(home, settings):
    first = run_crowd(home, [None])
    killed = int(first[0][1])
    os.kill(killed, signal.SIGKILL)

    # At once: its end may well overlap with their search.
    answers = run_crowd(home, [None] * PROCESSES)

    assert_one_started_it(answers, settings)
    assert {url for _, _, url, _ in answers} == {first[0][2]}
    assert {int(pid) for _, pid, *_ in answers} != {killed}


def test_a_starter_killed_before_any_line_of_starting_leaves_a_folder_that_works(tmp_path):
    """One starter dies in a new folder before each line that a whole start runs, in turn."""
    with server_folder(tmp_path / "whole"):
        ((how, _, _, lines),) = run_crowd(tmp_path / "whole", [None])
    assert how == "started"

    for step in range(1, int(lines) + 1):
        home = tmp_path / f"dies-at-{step}"
        with server_folder(home) as settings:
            # It dies, unless it came to its end in fewer lines than the whole start took.
            assert all(int(ran) < step for *_, ran in run_crowd(home, [step]))
            assert_one_working_server(settings)


@pytest.mark.parametrize("seed", range(4))
def test_those_who_live_on_get_one_server_while_others_die_starting_it(home, settings, seed):
    chance = random.Random(seed)
    doomed = [chance.randint(1, 130) for _ in range(PROCESSES)]

    answers = run_crowd(home, [*doomed, None, None])

    assert len(answers) >= 2
    assert len({(pid, url) for _, pid, url, _ in answers}) == 1
    assert_one_working_server(settings)


@pytest.mark.parametrize("seed", range(6))
def test_starters_killed_at_any_moment_leave_a_folder_that_works(home, settings, seed):
    with Crowd(home, [None] * PROCESSES) as crowd:
        crowd.kill_within(0.02 * (seed + 1), random.Random(seed))

    assert_one_working_server(settings)


def test_a_starter_killed_after_a_crash_of_the_server_leaves_a_folder_that_works(home, settings):
    """What the dead server left, its address among it, misleads nobody."""
    for step in range(10, 130, 12):
        server = embedded.ensure(settings)
        kill_servers(settings)
        until(lambda pid=server.pid: is_gone(pid), "the server was reaped")
        run_crowd(home, [step])
        assert_one_working_server(settings)
