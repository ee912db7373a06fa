# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` makes of its checks: how they are shown, limited, mended and kept quiet."""

import asyncio
import json

import pytest
from local_server import settings_at
from mcp_agentbus.installers.steps import Step

from mcp_agentbus.doctor import hosts, machine, report, server
from mcp_agentbus.doctor import run as doctor
from mcp_agentbus.doctor.check import Check, Stage
from mcp_agentbus.doctor.run import run
from mcp_agentbus.errors import BadInput, BadSetup, BusUnreachable

CANARY = "canary-7f3a9c01-not-to-be-shown"


@pytest.fixture
def alone(monkeypatch):
    """No host but the installer's, and no hook."""
    monkeypatch.setattr(hosts, "HOSTS", ("stand-in",))
    monkeypatch.setattr(hosts, "hooks", lambda _: Check("hooks", "ok", "left out"))


async def printed(settings, **options):
    """Return the exit code of a doctor, and what it printed."""
    lines = []
    code = await run(settings, lines.append, **options)
    return code, "\n".join(lines)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ValueError(CANARY), "ValueError"),
        (OSError(28, "No space left"), "No space left"),
        (SystemExit(CANARY), "the check failed: SystemExit"),
    ],
)
@pytest.mark.usefixtures("alone", "installer")
async def test_a_check_that_fails_is_unknown_and_hides_no_other(tmp_path, monkeypatch, fault, said):
    def fails(*_):
        raise fault

    monkeypatch.setattr(machine, "files", fails)

    code, text = await printed(settings_at(tmp_path), as_json=True)

    found = {one["name"]: one for one in json.loads(text)["checks"]}
    assert code == 1
    assert found["files"]["state"] == "unknown"
    assert said in found["files"]["said"]
    assert found["stand-in"]["state"] == "ok"
    assert CANARY not in text


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("No server answers. Nothing was stored.", "No server answers."),
        ("Nothing was stored. No server answers.", "No server answers."),
        ("Not it. Nothing was stored, and no token was sent.", "Not it. No token was sent."),
    ],
)
@pytest.mark.parametrize("is_raised", [True, False])
@pytest.mark.usefixtures("alone", "installer")
async def test_of_a_look_it_is_not_said_that_nothing_was_stored(
    tmp_path, monkeypatch, message, said, is_raised
):
    def looks(*_):
        if is_raised:
            raise BusUnreachable(message)
        return [Check("files", "wrong", message)]

    monkeypatch.setattr(machine, "files", looks)
    _, text = await printed(settings_at(tmp_path), as_json=True)

    assert said in {one["said"] for one in json.loads(text)["checks"] if one["name"] == "files"}


async def test_a_check_that_hangs_is_unknown_after_its_time(
    tmp_path, alone, installer, monkeypatch
):
    going = asyncio.Event()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def hangs(_):
        asyncio.run_coroutine_threadsafe(going.wait(), loop).result()
        loop.call_soon_threadsafe(ended.set)

    monkeypatch.setattr(doctor, "_HOST_LIMIT_S", 0.1)
    installer.verify = hangs

    code, text = await printed(settings_at(tmp_path))

    going.set()
    await ended.wait()
    assert code == 1
    assert "??  stand-in" in text
    assert "no answer within" in text


@pytest.mark.promise(40)
async def test_a_secret_in_a_hosts_own_words_is_not_shown(tmp_path, alone, installer):
    def blabs(_):
        raise BadSetup(f"it said {CANARY}1 and {CANARY}2 and {CANARY}3", hint=f"{CANARY}1")

    installer.verify = blabs
    installer.uninstall = lambda _: [Step("remove it", str)]
    token = tmp_path / "token"
    token.write_text(f"{CANARY}1\n")
    token.chmod(0o600)
    own = tmp_path / "data" / "token"
    own.parent.mkdir(mode=0o700)
    own.touch(mode=0o600)
    own.write_text(f"{CANARY}2")
    settings = settings_at(tmp_path, AGENTBUS_TOKEN_FILE=str(token), SOME_API_KEY=f"{CANARY}3")

    for as_json in (True, False):
        _, text = await printed(settings, as_json=as_json)

        assert "it said *** and *** and ***" in text
        assert CANARY not in text


async def test_a_secret_is_told_from_a_path_that_is_there(tmp_path, alone, installer):
    installer.verify = lambda _: f"it said /{CANARY} and {CANARY} and {tmp_path} in words"
    secrets = {"AWS_SECRET_ACCESS_KEY": f"/{CANARY}", "DB_PASS": CANARY}

    _, text = await printed(settings_at(tmp_path, **secrets, MY_KEY=str(tmp_path)))

    assert f"it said *** and *** and {tmp_path} in words" in text


async def test_control_characters_of_a_host_do_not_reach_the_terminal(tmp_path, alone, installer):
    installer.verify = lambda _: "tools\x1b[2J\r\nok"

    _, text = await printed(settings_at(tmp_path))

    assert "\x1b" not in text
    assert "tools [2J  ok" in text


async def test_the_last_line_sums_up(tmp_path, alone, installer):
    _, text = await printed(settings_at(tmp_path))

    assert text.splitlines()[-1].startswith("9 checks: 8 ok, 1 with a warning.")


async def test_hosts_that_are_not_here_make_one_line_and_all_of_the_data(
    tmp_path, alone, installer, monkeypatch
):
    monkeypatch.setattr(hosts, "HOSTS", ("stand-in", "cursor", "codex"))
    settings = settings_at(tmp_path, HOME=str(tmp_path), PATH=str(tmp_path))

    _, text = await printed(settings)
    _, data = await printed(settings, as_json=True)

    assert "ok  other hosts  not here: cursor, codex\n" in text
    assert "10 checks: 9 ok" in text
    names = [one["name"] for one in json.loads(data)["checks"]]
    assert names[-4:] == ["stand-in", "cursor", "codex", "hooks"]


def test_what_one_cause_hides_makes_one_line_and_each_name_stands_once_in_the_last():
    files = [Check("files", "wrong", f"{folder} cannot be written to") for folder in "ab"]
    why = "not looked at", "Mend config first."
    unread = [Check(name, "unknown", *why) for name in ("server", "roster", "name")]

    told = list(
        report.lines([*files, unread[0], Check("disk", "ok", "x"), *unread[1:]], fixing=False)
    )

    assert told[3:5] == [
        "??  several  not looked at: server, roster, name",
        "             Mend config first.",
    ]
    assert told[5:] == ["4 checks: 1 ok, 2 wrong, 1 not known (files, several)."]


@pytest.mark.parametrize(
    "options",
    [{"dry_run": True}, {"wake": "coder"}, {"fix": True, "self_test": True}],
)
async def test_options_that_do_not_go_together_are_refused(tmp_path, options):
    with pytest.raises(BadInput):
        await printed(settings_at(tmp_path), **options)


async def test_what_cannot_be_mended_is_said_and_ends_nothing(
    tmp_path, alone, installer, monkeypatch
):
    done = []

    def fails():
        raise BadSetup("It cannot.", hint="Do it by hand.")

    both = [
        Check("files", "wrong", "one", "", Step("mend one", fails)),
        Check("files", "wrong", "two", "", Step("mend two", lambda: done.append(2) or "")),
    ]
    monkeypatch.setattr(machine, "files", lambda _: both)
    monkeypatch.setattr(server, "checks", _nothing)

    code, text = await printed(settings_at(tmp_path), fix=True)

    assert code == 1
    assert "not done: mend one. It cannot. Do it by hand." in text
    assert "done: mend two" in text
    assert done == [2]


async def _nothing(_):
    return []


def test_a_stage_is_shown_with_its_time_and_what_to_do():
    lines = []
    report.tell(Stage("claim", "failed", 12.3, "nothing", "Do this."), lines.append)

    assert lines == ["!!  claim         12 ms  nothing", f"{'':25}Do this."]


def test_of_faults_alone_warnings_are_some_and_what_is_ok_or_not_tried_is_none(monkeypatch):
    # By their states: a mark has colours where a person looks.
    monkeypatch.setattr(report, "_mark", "<{}>".format)
    states = ("ok", "warning", "wrong", "unknown")
    checks = [Check(state, state, "it", "Do this.") for state in states]
    lines = [*report.lines(checks, fixing=False, faults_only=True)]
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        "<warning>", "<wrong>", "<unknown>", "4",
    ]  # fmt: skip
    assert len(lines) == 7

    told = []
    for state in ("ok", "skipped", "failed"):
        report.tell(Stage(state, state, 1, "it", "Do this."), told.append, faults_only=True)
    assert [line.split()[0] for line in told] == ["<failed>", "Do"]
