# SPDX-License-Identifier: Apache-2.0
"""What `agentbus server` and what follows it say, and refuse before anything is done."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from local_server import settings_at
from made_server import MadeServer

from mcp_agentbus.bus import embedded
from mcp_agentbus.cli import rooms, server
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.cli.servers import accounts, folder, gate
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BadInput
from mcp_agentbus.shared.accounts.owner import Invited
from mcp_agentbus.shared.accounts.record import Invitation


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--revoke", "Which account is to change"),
        ("pi --role ops --revoke", "one at a time. Nothing was done."),
        ("pi --no-all --readmit", "one at a time. Nothing was done."),
        ("pi --readmit --revoke", "one at a time. Nothing was done."),
    ],
)
def test_of_an_account_one_thing_is_changed_at_a_time(typed, said):
    args = parser().parse_args(["server", "accounts", *typed.split()])

    with pytest.raises(BadInput, match=said):
        accounts.accounts(args)


def test_what_may_be_several_is_kept_whole_however_it_is_typed(tmp_path, capsys):
    given = ["--name", "bus.test", "vpn.test", "--name", "home.test"]
    made = ["server", "init", "--shared", "--dry-run", "--dir", str(tmp_path), *given]
    agents = ["server", "config", "--streams", "--for", "planner,coder", "--for", "smith"]

    assert folder.init(parser().parse_args(made)) == server.run(parser().parse_args(agents)) == 0

    said = capsys.readouterr().out
    assert all(each in said for each in ("bus.test", "vpn.test", "home.test"))
    assert all(f'"{each}_high"' in said for each in ("planner", "coder", "smith"))


@pytest.mark.parametrize("option", [[], ["--yes"], ["--json"]])
def test_nothing_is_said_of_who_is_removed_where_there_is_no_server(tmp_path, capsys, option):
    typed = ["server", "remove", "pi", "--dir", str(tmp_path), *option]

    with pytest.raises(BadInput, match="no shared server"):
        accounts.remove(parser().parse_args(typed))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("code", [0, 1])
def test_by_systemd_a_server_is_begun_only_where_that_answers(tmp_path, monkeypatch, capsys, code):
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\nexit {code}\n")
    systemctl.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    typed = ["server", "init", "--shared", "--name", "bus.test", "--dir", str(tmp_path / "bus")]

    folder.init(parser().parse_args(typed))

    said = capsys.readouterr().out
    begun = re.search("^Here: (XDG_RUNTIME_DIR=.* )?systemctl", said, re.MULTILINE)  # as by cron
    assert (bool(begun), "agentbus server gate --dir" in said) == (not code, code)


@pytest.mark.parametrize("where", [".", "the bus"])
def test_what_is_to_be_typed_next_names_the_folder_that_is_not_the_usual_one(
    tmp_path, monkeypatch, capsys, where
):
    monkeypatch.setenv("AGENTBUS_HOME", str(tmp_path))
    usual = tmp_path / "data" / "shared"
    args = parser().parse_args(["server", "invite", "pi", "--dir", str(usual / where)])
    invitation = Invitation(id="0" * 16, name="pi", secret_sha256="", expires_at=now())

    accounts._print(args, Invited("", invitation, had="--all"), "", has_gate=False)

    of = "" if where == "." else f" --dir '{usual / where}'"
    withdrawn, given, gate = capsys.readouterr().err.splitlines()
    assert withdrawn.endswith(f": agentbus server accounts pi --revoke{of}")
    assert given.endswith(f": agentbus server accounts pi --all{of}")
    assert gate.endswith(f": agentbus server gate{of}")


@pytest.mark.parametrize(
    ("option", "printed"),
    [([], "the gate of /shared answers"), (["--json"], {"folder": "/shared", "answers": True})],
)
async def test_a_gate_says_that_it_answers_as_it_was_asked_to(capsys, option, printed):
    running = SimpleNamespace(answers=asyncio.Event())
    running.answers.set()

    await gate._tell(running, Path("/shared"), parser().parse_args(["server", "gate", *option]))

    said = capsys.readouterr().out
    assert (json.loads(said) if option else said.rstrip("\n")) == printed


@pytest.mark.parametrize("wrong", [False, True])
def test_a_doctor_looks_at_the_server_of_a_folder_as_its_owner(tmp_path, monkeypatch, wrong):
    made, looked = MadeServer(tmp_path / "bus"), []

    async def run(given, *_, **__):
        looked.append((given.url, given.nkey_file, given.token_file, given.account))
        return 0

    monkeypatch.setattr("mcp_agentbus.doctor.run.run", run)
    monkeypatch.setenv("AGENTBUS_TOKEN_FILE", "/of/another/bus")
    monkeypatch.setenv("AGENTBUS_ACCOUNT", "laptop")
    args = parser().parse_args(["doctor", "--dir", str(tmp_path if wrong else tmp_path / "bus")])

    if wrong:
        with pytest.raises(BadInput, match="no shared server"):
            rooms.doctor(args)
    else:
        assert rooms.doctor(args) == 0
        assert looked == [(made.owner.url, made.files.admin, None, None)]


OWN = "To use your own server: unset AGENTBUS_URL (or url in config.toml)."
LEAVE = "To use your own server: agentbus leave."
BESIDE = "Yours runs beside it: agentbus server stop"


@pytest.mark.parametrize(
    ("action", "account", "runs", "hint"),
    [
        ("stop", None, False, OWN),
        ("start", None, True, f"{OWN} {BESIDE}"),
        ("status", "laptop", False, LEAVE),
        ("status", "laptop", True, f"{LEAVE} {BESIDE}"),
        ("stop", "laptop", True, ""),
    ],
)
def test_beside_a_shared_server_this_user_s_own_can_be_stopped_and_nothing_else(
    tmp_path, monkeypatch, capsys, *, action, account, runs, hint
):
    settings = replace(settings_at(tmp_path, AGENTBUS_URL="nats://127.0.0.1:1"), account=account)
    looked = []

    def running(own, *_):
        looked.append((own.url, own.account))
        return runs

    monkeypatch.setattr(server, "load_settings", lambda: settings)
    monkeypatch.setattr(server, "settings_and_fault", lambda: (settings, None))
    monkeypatch.setattr(embedded, "stop", running)
    monkeypatch.setattr(embedded, "find", running)
    args = parser().parse_args(["server", action])

    if not hint:
        assert server.run(args) == 0
        assert "stopped your own server, beside the shared one" in capsys.readouterr().out
    else:
        with pytest.raises(BadInput, match="does not keep") as refused:
            server.run(args)
        assert refused.value.hint.endswith(hint)
    assert {*looked} == {(None, None)}
