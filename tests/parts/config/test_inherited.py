# SPDX-License-Identifier: Apache-2.0
"""What a woken process inherits, by its profile, and what a service must be told for that."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import served
from local_server import script

from mcp_agentbus.config import claude_user, inherited
from mcp_agentbus.config.rules import Rules
from mcp_agentbus.core import programs
from mcp_agentbus.relay import starter

#: What finds programs, files, the network and the bus.
EVERYBODYS = {
    "HOME": "/home/me", "USER": "me", "LANG": "C.UTF-8", "LC_ALL": "C", "TMPDIR": "/t",
    "XDG_CONFIG_HOME": "/x", "PATH": "/bin", "NVM_DIR": "/nvm", "HTTPS_PROXY": "http://p:1",
    "no_proxy": "localhost", "NODE_EXTRA_CA_CERTS": "/ca.pem", "AGENTBUS_HOME": "/bus",
}  # fmt: skip
LOGIN = {
    "ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://m", "CLAUDE_CONFIG_DIR": "/c",
    "CLAUDE_CODE_OAUTH_TOKEN": "o",
}  # fmt: skip
#: One session's, and of the service manager.
SESSIONS = {
    "CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": "s", "CLAUDE_PROJECT_DIR": "/p",
    "CLAUDE_CODE_MESSAGING_TOKEN": "m", "AI_AGENT": "claude-code_2-1-329", "CURSOR_TRACE_ID": "c",
    "AGENTBUS_AGENT": "me", "AGENTBUS_HOST": "cursor", "AGENTBUS_TOKEN": "secret",
    "NOTIFY_SOCKET": "/n", "INVOCATION_ID": "i", "LISTEN_FDS": "1",
}  # fmt: skip
#: A terminal's, which means nothing to a host that reads and answers.
OTHERS = {
    "GITHUB_TOKEN": "g", "DATABASE_URL": "d", "NODE_OPTIONS": "--require ./x", "SSH_AUTH_SOCK": "a",
    "PYTHONPATH": "/project", "LD_PRELOAD": "/x.so", "BASH_ENV": "/x",
}  # fmt: skip
CLOUDS = {"AWS_PROFILE": "a", "GOOGLE_CLOUD_PROJECT": "g", "AZURE_CLIENT_ID": "z"}
ALL = EVERYBODYS | LOGIN | SESSIONS | OTHERS | CLOUDS


def rules(profile="answer", host="claude-code", **fields):
    return Rules("coder", host, Path("/shop"), profile, **fields)


def test_an_answer_has_what_logs_in_and_finds_its_way_and_no_more():
    assert inherited.of(rules(), ALL) == EVERYBODYS | LOGIN


@pytest.mark.parametrize(
    ("choice", "variable"),
    [
        ("CLAUDE_CODE_USE_BEDROCK", "AWS_PROFILE"),
        ("CLAUDE_CODE_USE_VERTEX", "GOOGLE_CLOUD_PROJECT"),
        ("CLAUDE_CODE_USE_FOUNDRY", "AZURE_CLIENT_ID"),
    ],
)
def test_the_variables_of_a_cloud_are_for_who_logs_in_by_it(choice, variable):
    chosen = {choice: "1", variable: ALL[variable]}

    assert inherited.of(rules(), ALL | {choice: "1"}) == EVERYBODYS | LOGIN | chosen
    for off in ("", "0", "false", " OFF", "no"):
        assert variable not in inherited.of(rules(), ALL | {choice: off})
    assert variable in inherited.of(rules(), ALL | {choice: " True "})


@pytest.mark.parametrize("host", ["claude-code", "cursor", "command"])
def test_work_and_a_command_have_all_but_a_sessions_and_what_is_secret_to_the_bus(host):
    assert inherited.of(rules("work", host), ALL) == EVERYBODYS | LOGIN | OTHERS | CLOUDS


@pytest.mark.parametrize("profile", ["answer", "work"])
def test_what_the_user_names_comes_besides(profile):
    named = rules(profile, env=("GITHUB_TOKEN", "CLAUDE_CODE_SESSION_ID", "UNSET"))

    more = {name: ALL[name] for name in ("GITHUB_TOKEN", "CLAUDE_CODE_SESSION_ID")}
    assert inherited.of(named, ALL) == inherited.of(rules(profile), ALL) | more


@pytest.mark.parametrize("profile", ["answer", "work"])
@pytest.mark.parametrize("relative", ["", ".", "bin", "./bin", "../bin"])
def test_nothing_is_found_by_a_folder_that_is_another_one_in_each_project(profile, relative):
    around = {"PATH": f"{relative}:/bin:{relative}:/usr/bin"}

    assert inherited.of(rules(profile), around) == {"PATH": "/bin:/usr/bin"}


def test_an_answer_finds_no_program_of_its_folder_however_that_is_named(tmp_path):
    folder = tmp_path / "shop"
    (folder / "bin").mkdir(parents=True)
    (folder / "out").symlink_to("/usr/bin")
    (tmp_path / "named").symlink_to(folder)
    (tmp_path / "inside").symlink_to(folder / "bin")
    names = ("shop", "shop/bin", "x/../shop/.venv", "shop/out", "named/bin", "inside")
    of_it = [str(tmp_path / name) for name in names]
    around = {"PATH": os.pathsep.join([*of_it, "/bin", f"{folder}-2/bin"])}

    for named in (folder, tmp_path / "named"):
        answers, works = (Rules("coder", "claude-code", named, each) for each in ("answer", "work"))
        assert inherited.of(answers, around) == {"PATH": f"/bin:{folder}-2/bin"}
        assert inherited.of(works, around) == around  # it runs what its folder has anyway


@pytest.mark.parametrize(("away", "found"), [("nfs", "/bin:/usr/bin"), ("shop", "")])
def test_an_answer_finds_nothing_where_nobody_tells_whether_its_folder_holds_it(
    monkeypatch, away, found
):
    comes_back, real = threading.Event(), os.path.realpath

    def realpath(path):
        return comes_back.wait(20) if Path(path).name == away else real(path)

    monkeypatch.setattr("mcp_agentbus.config.rules._PATHS_LOOK_S", 0.2)
    monkeypatch.setattr(os.path, "realpath", realpath)

    assert inherited.of(rules(), {"PATH": "/bin:/nfs:/usr/bin"}).get("PATH", "") == found

    comes_back.set()


def test_the_path_by_which_this_program_itself_is_found_stays(monkeypatch):
    monkeypatch.setattr(programs, "OWN", "/project")

    assert inherited.of(rules(), ALL)["PYTHONPATH"] == "/project"


def test_a_listener_that_a_session_starts_hands_on_what_a_terminals_would(monkeypatch, tmp_path):
    started = {}
    monkeypatch.setattr("subprocess.Popen", lambda *_, env, **__: started.update(env))
    around = {**ALL, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}

    assert starter.start_listener(starter.places.Place("", around))
    assert inherited.of(rules(), started) == inherited.of(rules(), around)
    assert not {"CLAUDECODE", "AGENTBUS_AGENT", "CLAUDE_CODE_SESSION_ID"} & set(started)


#: A server of a host, which says with what it would start a listener.
STARTS = """
import json, os, subprocess
from mcp_agentbus.relay import starter
subprocess.Popen = lambda *_, env, **__: print(json.dumps(env))
starter.start_listener(starter.places.Place("", os.environ))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a host was begun with")
def test_a_listener_that_a_host_starts_hands_on_what_its_user_has_set_and_no_folder(tmp_path):
    bus = {"HOME": str(tmp_path), "AGENTBUS_HOME": "/bus", "PYTHONPATH": served.PACKAGE}
    handed_down = {**bus, "ANTHROPIC_BASE_URL": "http://of-a-folder", "PATH": "/of-a-folder"}
    words = [f"{name}={value}" for name, value in handed_down.items()]
    host = tmp_path / "openclaw"
    script(host, 'env -i "$@"', "exit $?")  # OpenClaw takes away what is its own
    begun_with = {"HOME": "/another", "AGENTBUS_HOME": "/other-bus", **LOGIN, "PATH": "/bin"}

    ran = subprocess.run(
        [host, *words, sys.executable, "-c", STARTS],
        env=begun_with, stdout=subprocess.PIPE, text=True, check=True, timeout=60,
    )  # fmt: skip

    started = json.loads(ran.stdout)
    assert inherited.of(rules(), started) == {
        "HOME": str(tmp_path), "AGENTBUS_HOME": "/bus", "PATH": "/bin", **LOGIN,
        "PYTHONPATH": served.PACKAGE,
    }  # fmt: skip


def test_a_service_is_told_all_that_is_needed_and_no_secret():
    around = {
        **ALL, "CLAUDE_CODE_USE_BEDROCK": "1", "AWS_SECRET_ACCESS_KEY": "s", "JAVA_HOME": "/j",
        "ALL_PROXY": "socks://me:word@p", "ANTHROPIC_CUSTOM_HEADERS": "x: y", "FNM_DIR": "a\nb",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/token",
    }  # fmt: skip

    told, left_out = inherited.lasting([rules(env=("JAVA_HOME", "DATABASE_URL"))], around)

    assert list(told) == [
        "ANTHROPIC_BASE_URL", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
        "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CONFIG_DIR", "DATABASE_URL", "HTTPS_PROXY", "JAVA_HOME",
        "NODE_EXTRA_CA_CERTS", "NVM_DIR", "PATH", "no_proxy",
    ]  # fmt: skip
    assert left_out == [
        "ALL_PROXY", "ANTHROPIC_API_KEY", "ANTHROPIC_CUSTOM_HEADERS", "AWS_SECRET_ACCESS_KEY",
        "CLAUDE_CODE_OAUTH_TOKEN",
    ]  # fmt: skip


def test_a_login_that_the_users_settings_of_the_host_choose_is_told_to_all(tmp_path):
    (tmp_path / ".claude").mkdir()
    given = {"env": {"CLAUDE_CODE_USE_BEDROCK": "1", "CLAUDE_CODE_USE_VERTEX": "0"}}
    (tmp_path / ".claude" / "settings.json").write_text(json.dumps(given))
    way = {"AWS_PROFILE": "work", "AWS_REGION": "eu-west-1"}
    around = {"HOME": str(tmp_path), **way, "AWS_SECRET_ACCESS_KEY": "s"}
    switch = {"CLAUDE_CODE_USE_VERTEX": "1"}  # it is off by the settings
    others = {**switch, "GOOGLE_CLOUD_PROJECT": "g"}

    assert inherited.lasting([], around | others) == (way | switch, ["AWS_SECRET_ACCESS_KEY"])
    assert inherited.logins(around | others) == sorted({*way, *switch, "AWS_SECRET_ACCESS_KEY"})
    assert inherited.of(rules(), around | others) == around | switch
    assert claude_user.environ(around | others) == given["env"]
    assert inherited.logins(around, "cursor") == []


def test_a_service_finds_its_programs_by_folders_that_are_the_same_everywhere():
    told, _ = inherited.lasting([], {"PATH": ":.:/bin:bin:/\udcff:/usr/bin"})

    assert told == {"PATH": "/bin:/usr/bin"}
    assert inherited.lasting([], {"PATH": "bin"}) == ({}, [])


@pytest.mark.parametrize(
    "name",
    ["AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "DB_PASS", "PASS_OF_DB", "GITHUB_PAT",
     "X_CREDENTIALS", "NATS_CREDS", "DB_PWD", "passwd", "Secret2", "API_KEYS"],
)  # fmt: skip
def test_a_secret_is_known_by_its_name_wherever_the_word_stands_there(name):
    assert inherited.lasting([rules(env=(name,))], {name: "x"}) == ({}, [name])


@pytest.mark.parametrize(
    "name",
    ["AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS", "SSH_KEY_PATH", "KEYS_DIR",
     "CLAUDE_CODE_CLIENT_KEY", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
     "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
     "CLAUDE_CODE_API_KEY_HELPER_TTL_MS", "MANPATH", "PWD", "PATTERN", "PASSES", "COMPASS"],
)  # fmt: skip
def test_what_leads_to_a_secret_or_counts_its_like_is_none(name):
    of_it = [rules(env=(name,))]

    assert inherited.lasting(of_it, {name: "x"}) == ({name: "x"}, [])
    assert inherited.lasting(of_it, {name: "https://me:word@proxy"}) == ({}, [name])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "user:secret@proxy.corp:3128"),
        ("https_proxy", "user:secret@proxy.corp:3128"),
        ("ALL_PROXY", "secret@proxy.corp"),
        ("http_proxy", "//user:secret@proxy.corp"),
        ("HTTP_PROXY", "http://user:se/cret@proxy.corp"),
        ("HTTP_PROXY", "http://user:my secret@proxy.corp"),
        ("npm_config_https_proxy", "user:se/cret@proxy.corp"),
        ("GLOBAL_AGENT_PROXY_URL", "user:se/cret@proxy.corp"),
        ("PROXY", "secret@proxy.corp"),
        ("DATABASE_URL", "user:secret@tcp(db:3306)/main"),
    ],
)
def test_a_login_is_known_by_its_form_though_it_be_no_url(name, value):
    assert inherited.lasting([rules(env=(name,))], {name: value}) == ({}, [name])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "proxy.corp:3128"),
        ("HTTP_PROXY", "http://proxy.corp:3128"),
        ("PATH", "/opt/homebrew/opt/node@18/bin:/bin"),
        ("PATH", "/bin:/opt/python@3.11/bin"),
        ("REPOSITORY", "git@example.org:shop.git"),
        ("REGISTRY", "https://registry.example/@shop"),
    ],
)
def test_what_has_that_sign_and_no_login_is_none(name, value):
    assert inherited.lasting([rules(env=(name,))], {name: value}) == ({name: value}, [])


def test_the_logins_of_one_host_or_of_all_are_named():
    around = {"ANTHROPIC_API_KEY": "k", "CURSOR_API_KEY": "c", "AWS_PROFILE": "a", "HOME": "/"}

    assert inherited.logins(around) == ["ANTHROPIC_API_KEY", "CURSOR_API_KEY"]
    assert inherited.logins(around, "cursor") == ["CURSOR_API_KEY"]
    assert inherited.logins(around, "command") == []
