# SPDX-License-Identifier: Apache-2.0
"""A person is told by a program; whatever that does, nothing else is hurt and its outcome is said."""

import os
import sys

import pytest
from posting import taking_posts

from mcp_agentbus.config.sections.human import Human
from mcp_agentbus.human import ways
from mcp_agentbus.human.tap import tap

LINE = "coder needs an approval: agentbus task 9d0c2f1e"


@pytest.fixture
def environ(tmp_path):
    (tmp_path / "bin").mkdir()
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


@pytest.fixture
def program(tmp_path, environ):
    """Return what puts a program on PATH that notes its arguments and its input."""

    def put(name, then="exit 0"):
        file = tmp_path / "bin" / name
        file.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" > "$HOME/argv"\ncat > "$HOME/stdin"\n{then}\n'
        )
        file.chmod(0o755)
        return str(file)

    return put


@pytest.fixture
def addresses(tmp_path):
    """Return what writes a file of addresses."""

    def write(content, mode=0o600):
        file = tmp_path / "human.url"
        file.write_text(content)
        file.chmod(mode)
        return file

    return write


def noted(tmp_path):
    return [(tmp_path / name).read_text() for name in ("argv", "stdin")]


async def test_a_program_of_the_users_gets_the_line_on_its_input(tmp_path, environ, program):
    ring = program("ring")

    assert await tap(Human(command=(ring, "--softly")), LINE, environ) == (True, f"{ring} took it.")
    assert noted(tmp_path) == ["--softly\n", f"{LINE}\n"]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("echo no bell >&2; exit 3", "ring ended with exit code 3: no bell."),
        ("kill -9 $$", "ring was ended by signal 9."),
        ("printf '\\033[2Jred\\n'; exit 1", "ring ended with exit code 1: [2Jred."),
    ],
)
async def test_one_that_fails_says_so(environ, program, then, said):
    program("ring", then)

    assert await tap(Human(command=("ring",)), LINE, environ) == (False, said)


async def test_one_that_is_not_there_and_one_that_is_no_program_are_named(tmp_path, environ):
    outcome = await tap(Human(command=("no-such-bell",)), LINE, environ)
    assert not outcome.is_told
    assert outcome.said.startswith("no-such-bell is not there, or is no program.")
    (tmp_path / "bin" / "ring").write_text("no program")
    (tmp_path / "bin" / "ring").chmod(0o755)
    outcome = await tap(Human(command=("ring",)), LINE, environ)
    assert not outcome.is_told
    assert "cannot be run" in outcome.said


async def test_one_that_hangs_is_ended_with_what_it_has_started(tmp_path, environ, program):
    os.mkfifo(tmp_path / "held")
    program("ring", 'sleep 300 > "$HOME/held" & wait')
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    try:
        outcome = await tap(Human(command=("ring",)), LINE, environ, time_limit_s=0.5)
        os.set_blocking(held, True)
        assert os.read(held, 1) == b""  # nobody has it open any more
    finally:
        os.close(held)

    assert outcome == (False, "ring was ended: it takes more time than a tap may.")


async def test_one_that_may_not_be_ended_is_said_to_go_on(environ, not_ours):
    hangs = Human(command=("tail", "-f", "/dev/null"))

    outcome = await tap(hangs, LINE, environ, time_limit_s=0.01)

    assert outcome.said == "tail takes more time than a tap may, and could not be ended."
    assert not_ours


async def test_a_program_does_not_get_what_belongs_to_a_session_or_the_bus(
    environ, program, tmp_path
):
    program("ring", 'env > "$HOME/env"')
    around = {**environ, "CLAUDECODE": "1", "AGENTBUS_TOKEN": "secret", "DISPLAY": ":0"}

    assert (await tap(Human(command=("ring",)), LINE, around)).is_told
    got = (tmp_path / "env").read_text()
    assert "DISPLAY=:0" in got
    assert "CLAUDECODE" not in got
    assert "secret" not in got


@pytest.mark.parametrize(("system", "name"), [("linux", "notify-send"), ("darwin", "osascript")])
def test_the_desktop_is_told_by_its_own_program(environ, program, monkeypatch, system, name):
    program(name)
    monkeypatch.setattr(ways.sys, "platform", system)
    made = ways.program(Human(by="desktop"), LINE, environ)
    monkeypatch.undo()

    if system == "linux":
        assert made.argv[1:] == ["--app-name=agentbus", "--", "agentbus", LINE]
    else:
        assert (made.argv[1:], made.stdin) == (
            ["-"], f'display notification "{LINE}" with title "agentbus"',
        )  # fmt: skip


async def test_apprise_is_told_where_the_addresses_are_and_none_of_what_it_prints_is_shown(
    tmp_path, environ, program, addresses, monkeypatch
):
    monkeypatch.setattr(ways.sysconfig, "get_path", lambda _: str(tmp_path / "none"))
    program("apprise", "echo tgram://SECRET/; exit 1")
    file = addresses("tgram://SECRET/1\n")

    outcome = await tap(Human(by="apprise", url_file=file), LINE, environ)
    assert outcome == (False, "apprise ended with exit code 1.")
    assert noted(tmp_path) == [f"--title=agentbus\n--config={file}\n", LINE]
    assert "SECRET" not in str(ways.program(Human(by="apprise", url_file=file), LINE, environ))


async def test_where_apprise_is_lacking_it_is_said_how_to_have_it(environ, addresses, monkeypatch):
    monkeypatch.setattr(ways.sysconfig, "get_path", lambda _: "/none")
    environ["PATH"] = "/none"

    outcome = await tap(Human(by="apprise", url_file=addresses("x://")), LINE, environ)
    assert "mcp-agentbus[apprise]" in outcome.said


async def test_a_webhook_gets_the_line(environ, addresses):
    taken = []

    def take(path, headers, body):
        taken.append((path, headers["Content-Type"], body))
        return 200 if "right" in path else 404

    with taking_posts(take) as url:
        right, wrong = f"{url}/right?token=SECRET", f"{url}/wrong/SECRET"
        outcomes = [
            await tap(Human(by="webhook", url_file=addresses(each)), LINE, environ)
            for each in (right, wrong)
        ]

    assert outcomes == [
        (True, "webhook took it."),
        (False, "webhook ended with exit code 1: it answered with HTTP status 404."),
    ]
    assert taken[0] == (
        "/right?token=SECRET",
        "application/json",
        b'{"text": "%s"}' % LINE.encode(),
    )


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("http://hooks.example.org/SECRET", 0o600, "holds no address of a webhook"),
        ("https://me:SECRET@hooks.example.org/", 0o600, "holds no address of a webhook"),
        ("https://hooks.example.org/a b SECRET", 0o600, "holds no address of a webhook"),
        ("http://127.0.0.1:1/SECRET", 0o600, "it cannot be reached"),
        ("https://hooks.example.org/SECRET", 0o644, "is open to other users"),
        ("", 0o600, "is empty"),
    ],
)
async def test_an_address_that_may_get_nothing_is_refused_and_never_shown(
    environ, addresses, content, mode, said
):
    outcome = await tap(Human(by="webhook", url_file=addresses(content, mode)), LINE, environ)

    assert not outcome.is_told
    assert said in outcome.said
    assert "SECRET" not in outcome.said


def test_our_own_program_is_started_as_ever(addresses):
    file = addresses("https://hooks.example.org/SECRET")
    argv = ways.program(Human(by="webhook", url_file=file), LINE, {}).argv

    assert argv[0] == sys.executable
    assert argv[-3:] == ["-m", "mcp_agentbus.human.webhook", str(file)]
