# SPDX-License-Identifier: Apache-2.0
"""OpenClaw's installer with a stand-in: who it becomes, and what of its user's is left alone."""

import json
import platform
import shlex
from pathlib import Path

import pytest
from local_server import configured, script, settings_at
from mcp_agentbus.installers import openclaw
from mcp_agentbus.installers.steps import Machine

from mcp_agentbus.errors import BadSetup

SET_UP = '[agents.{}]\nhost = "openclaw"\nwake = "hold"\ndir = "/"\n'


@pytest.fixture
def environ(tmp_path, monkeypatch):
    """A user with a folder `shop` here, and a program that only says its version of OpenClaw."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / ".agentbus.toml").write_text('agent = "from-the-shop"\n')
    script(tmp_path / "openclaw", 'echo "OpenClaw 2026.9.6 (eb377ac)"')
    (tmp_path / "home" / ".openclaw").mkdir(parents=True)
    return {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path)}


OURS = {"command": "/old/agentbus", "args": ["serve"]}


def told_entry(steps):
    """Return the entry that the first step says it sets."""
    return json.loads(steps[0].what.partition(": mcp.servers.agentbus = ")[2])


def told_patch(tmp_path, steps):
    """Take the first step; return what it gives on standard input, beside its arguments."""
    told = tmp_path / "told"
    script(tmp_path / "openclaw", f'echo "$@" >> {told}.arguments', f"/bin/cat > {told}")
    steps[0].do()
    return json.loads(told.read_text()), Path(f"{told}.arguments").read_text()


@pytest.mark.parametrize(
    ("before", "given", "agent"),
    [
        ({}, None, "openclaw"),
        ({}, "claw", "claw"),
        ({**OURS, "args": ["serve", "--agent", "claw"]}, None, "claw"),
        ({**OURS, "args": ["serve", "--agent=claw"]}, None, "claw"),
        ({**OURS, "args": ["serve", "--agent=claw"]}, "paw", "paw"),
        ({**OURS, "env": {"AGENTBUS_AGENT": "claw"}}, None, "claw"),
        ({**OURS, "cwd": "shop"}, None, "from-the-shop"),
    ],
)
def test_it_is_said_who_openclaw_becomes(tmp_path, environ, before, given, agent):
    document = {"mcp": {"servers": {"agentbus": before}}}
    (Path(environ["HOME"]) / ".openclaw" / "openclaw.json").write_text(json.dumps(document))
    machine = Machine(settings_at(tmp_path / "bus", **environ))

    server, _, hooks = steps = openclaw.install(machine, agent=given)

    assert server.what.startswith(f"make OpenClaw the agent {agent}: ")
    assert f"agentbus agent add {agent} --host openclaw" in hooks.do()
    if not {"env", "cwd"} & set(before):  # what a user has put there is not shown
        words = ["serve", "--agent", agent] if given or not before else before["args"]
        assert told_entry(steps)["args"] == [*machine.agentbus[1:], *words]


@pytest.mark.parametrize(
    ("more", "agent"),
    [
        ({"OPENCLAW_PROFILE": "dev"}, "dev-openclaw"),
        ({"OPENCLAW_PROFILE": "default"}, "openclaw"),
        ({"AGENTBUS_URL": "tls://bus.example.org:4222"}, "mac-mini-openclaw"),
    ],
)
def test_one_openclaw_of_several_says_which(tmp_path, environ, monkeypatch, more, agent):
    monkeypatch.setattr(platform, "node", lambda: "Mac mini.local")
    machine = Machine(settings_at(tmp_path / "bus", **environ, **more))

    assert told_entry(openclaw.install(machine))["args"][-2:] == ["--agent", agent]


@pytest.mark.parametrize(
    ("set_up", "agent"), [(["claw"], "claw"), (["claw", "paw"], "openclaw"), ([], "openclaw")]
)
def test_the_agent_that_was_set_up_for_openclaw_is_the_one(tmp_path, environ, set_up, agent):
    text = "".join(SET_UP.format(name) for name in set_up)
    machine = Machine(configured(tmp_path / "bus", text, **environ))

    assert told_entry(openclaw.install(machine))["args"][-2:] == ["--agent", agent]


@pytest.mark.parametrize(
    "theirs",
    [
        {"url": "https://x.example", "headers": {"Authorization": "Bearer secret"}},
        {**OURS, "url": "https://x.example", "headers": {"Authorization": "Bearer secret"}},
        {"command": "/bin/other", "args": ["serve"], "env": {"TOKEN": "secret"}},
    ],
)
@pytest.mark.parametrize("comment", ["", " // mine"])
def test_another_projects_server_of_that_name_is_left_alone(tmp_path, environ, theirs, comment):
    servers = {"agentbus": theirs}
    script(tmp_path / "openclaw", f"echo {shlex.quote(json.dumps(servers))}")  # what it lists
    file = Path(environ["HOME"]) / ".openclaw" / "openclaw.json"
    file.write_text(json.dumps({"mcp": {"servers": servers}}) + comment)
    machine = Machine(settings_at(tmp_path / "bus", **environ))

    with pytest.raises(BadSetup, match=r"does not start agentbus.*openclaw mcp unset") as refused:
        openclaw.install(machine)

    assert "secret" not in str(refused.value)
    assert openclaw.uninstall(machine) == []


def test_one_that_took_the_place_of_ours_meanwhile_is_not_taken_out(tmp_path, environ):
    file = Path(environ["HOME"]) / ".openclaw" / "openclaw.json"
    file.write_text(json.dumps({"mcp": {"servers": {"agentbus": OURS}}}))
    [step] = openclaw.uninstall(Machine(settings_at(tmp_path / "bus", **environ)))
    theirs = {"url": "https://x.example"}
    file.write_text(json.dumps({"mcp": {"servers": {"agentbus": theirs}}}))
    script(tmp_path / "openclaw", f'echo "$@" >> {tmp_path}/arguments')

    assert step.do() == "it starts something else, and stays"
    assert not (tmp_path / "arguments").exists()


def test_what_the_user_added_is_neither_shown_nor_sent_again(tmp_path, environ):
    mine = {**OURS, "cwd": "shop", "headers": {"X": "secret"}, "env": {"T": "secret", "AGENTBUS_HOME": "/o"}}  # fmt: skip
    file = Path(environ["HOME"]) / ".openclaw" / "openclaw.json"
    file.write_text(json.dumps({"mcp": {"servers": {"agentbus": mine}}}))
    machine = Machine(settings_at(tmp_path / "bus", **environ))

    steps = openclaw.install(machine)
    patch, arguments = told_patch(tmp_path, steps)

    command, *args = machine.agentbus
    assert "secret" not in str([step.what for step in steps]) + arguments
    changed = {"command": command, "requestTimeoutMs": 120_000}
    if args:
        changed["args"] = [*args, "serve"]
    env = {"AGENTBUS_HOST": "openclaw", "AGENTBUS_HOME": machine.environ["AGENTBUS_HOME"]}
    env["AGENTBUS_WATCH_MAX_S"] = "115"
    assert patch["mcp"] == {"servers": {"agentbus": {**changed, "env": env}}}
    assert patch["hooks"]["enabled"] is True


@pytest.mark.parametrize(
    ("limit_ms", "given", "most"),
    [
        (None, None, "115"),
        (90_000, None, "85"),
        (90_500.5, None, "85"),
        (300_000, "115", "115"),  # a smaller one may be its user's
        (120_000, "1m", "1m"),
        (120_000, "3m", "115"),
        (120_000, "soon", "115"),
        (120_000, 30, 30),
        (6_000, None, "1"),
        (5_999, None, None),  # no time is left to wait
        (3_605_000, None, "3600"),
        (3_606_000, None, None),  # nothing waits as long
        ("${LIMIT}", None, None),
        (True, "115", "115"),
    ],
)
def test_a_wait_for_mail_ends_before_openclaw_ends_its_call(
    tmp_path, environ, limit_ms, given, most
):
    env = {} if given is None else {"AGENTBUS_WATCH_MAX_S": given}
    mine = {**OURS, "env": env} | ({} if limit_ms is None else {"requestTimeoutMs": limit_ms})
    file = Path(environ["HOME"]) / ".openclaw" / "openclaw.json"
    file.write_text(json.dumps({"mcp": {"servers": {"agentbus": mine}}}))
    machine = Machine(settings_at(tmp_path / "bus", **environ))

    patch, _ = told_patch(tmp_path, openclaw.install(machine))

    env |= patch["mcp"]["servers"]["agentbus"]["env"]
    assert env.get("AGENTBUS_WATCH_MAX_S") == most


@pytest.mark.parametrize(
    ("profile", "name"),
    [
        ({}, "openclaw-hooks.token"),
        ({"OPENCLAW_PROFILE": " Default "}, "openclaw-hooks.token"),
        ({"OPENCLAW_PROFILE": "dev"}, "openclaw-hooks-dev.token"),
    ],
)
def test_each_profile_has_a_token_of_its_own(tmp_path, environ, profile, name):
    machine = Machine(settings_at(tmp_path / "bus", **environ, **profile))
    [*_, hooks] = openclaw.install(machine)

    hooks.do()

    file = machine.settings.config_file.parent / name
    assert openclaw.gateway(machine)["token_file"] == str(file)
    assert str(file) in str(openclaw.uninstall(machine))
    other = settings_at(tmp_path / "bus", **environ, OPENCLAW_PROFILE="other")
    assert openclaw.uninstall(Machine(other)) == []


@pytest.mark.parametrize("profile", ["dev", "rescue"])
def test_a_profile_is_said_to_each_command_as_openclaw_follows_no_variable(
    tmp_path, environ, profile
):
    machine = Machine(settings_at(tmp_path / "bus", **environ, OPENCLAW_PROFILE=profile))
    server, _, hooks = openclaw.install(machine)

    _, asked = told_patch(tmp_path, [server])

    assert asked == f"--profile {profile} config patch --stdin\n"
    assert f"run `openclaw {asked.strip()}`: mcp.servers.agentbus" in server.what
    port = {"dev": 19001}.get(profile, 18789)
    token = machine.settings.config_file.parent / f"openclaw-hooks-{profile}.token"
    assert hooks.do().endswith(f" --token-file {token} --gateway-url http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("more", "folder"),
    [
        ({"OPENCLAW_STATE_DIR": "~/claw"}, "claw"),
        ({"OPENCLAW_HOME": "/elsewhere"}, "/elsewhere/.openclaw"),
        ({"OPENCLAW_PROFILE": "dev"}, ".openclaw-dev"),
        ({}, ".openclaw"),
    ],
)
def test_the_skill_goes_where_this_openclaw_keeps_its_skills(tmp_path, environ, more, folder):
    steps = openclaw.install(Machine(settings_at(tmp_path / "bus", **environ, **more)))

    target = Path(environ["HOME"]) / folder / "skills" / "using-agentbus"
    assert steps[1].what == f"copy the skill to {target}"


HIDES = "__OPENCLAW_REDACTED__"
WITH_COMMENTS = "{ // mine\n hooks: {}, gateway: {}, mcp: { servers: { agentbus: {} } } }"
INCLUDES = '{"hooks": {"$include": "./hooks.json5"}, "gateway": {}}'


@pytest.mark.parametrize("text", [WITH_COMMENTS, INCLUDES])
@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"enabled": True, "token": HIDES}, "hooks.token cannot be read"),
        ({"enabled": False}, "hooks.enabled is not true"),
        ({"enabled": False, "token": HIDES}, "hooks.enabled is not true"),
    ],
)
def test_hooks_that_only_openclaw_can_read_stay_as_they_are(tmp_path, environ, text, hooks, said):
    file = Path(environ["HOME"]) / ".openclaw" / "openclaw.json"
    file.write_text(text)
    machine = Machine(settings_at(tmp_path / "bus", **environ))
    answers(tmp_path, {"config get hooks": hooks, "mcp list --json": {"agentbus": OURS}})

    [*_, step] = openclaw.install(machine)

    assert said in step.do()
    assert "patch" not in (tmp_path / "arguments").read_text()
    assert not (machine.settings.config_file.parent / "openclaw-hooks.token").exists()


def test_our_own_token_beside_comments_is_known_and_taken_out(tmp_path, environ):
    file = Path(environ["HOME"]) / ".openclaw" / "openclaw.json"
    machine = Machine(settings_at(tmp_path / "bus", **environ))
    openclaw.install(machine)[-1].do()
    token = (machine.settings.config_file.parent / "openclaw-hooks.token").read_text().strip()
    file.write_text(f"{{ hooks: {{ enabled: true, token: '{token}' }} }} // mine")
    hooks = {"enabled": True, "token": HIDES}
    answers(tmp_path, {"config get hooks": hooks, "mcp list --json": {}})

    assert "to let it be woken" in openclaw.install(machine)[-1].do()
    assert "patch" not in (tmp_path / "arguments").read_text()
    hooks, _ = openclaw.uninstall(machine)
    assert hooks.do() == ""
    assert json.loads((tmp_path / "stdin").read_text()) == {"hooks": None}


@pytest.mark.parametrize("text", [WITH_COMMENTS, INCLUDES])
def test_what_openclaw_cannot_tell_is_no_empty_document(tmp_path, environ, text):
    (Path(environ["HOME"]) / ".openclaw" / "openclaw.json").write_text(text)
    machine = Machine(settings_at(tmp_path / "bus", **environ))

    for act in (openclaw.install, openclaw.gateway):
        with pytest.raises(BadSetup, match=r"did not print JSON\. Hint: Run `openclaw config val"):
            act(machine)


def test_the_port_beside_comments_is_asked_for(tmp_path, environ):
    (Path(environ["HOME"]) / ".openclaw" / "openclaw.json").write_text(WITH_COMMENTS)
    answers(tmp_path, {"config get gateway": {"port": 19001}})

    machine = Machine(settings_at(tmp_path / "bus", **environ))

    assert openclaw.gateway(machine) == {"gateway_url": "http://127.0.0.1:19001"}


def answers(tmp_path, given):
    """Make an OpenClaw that answers some commands, and keeps what it was given."""
    cases = [f"'{words}') echo '{json.dumps(said)}' ;;" for words, said in given.items()]
    script(
        tmp_path / "openclaw",
        f'echo "$@" >> {tmp_path}/arguments',
        f'[ "$2" = patch ] && /bin/cat > {tmp_path}/stdin',
        'case "$*" in', *cases, "*) echo 2026.9.6 ;;", "esac",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mcp", "patch"),
    [
        ({"servers": {"agentbus": OURS}}, None),
        ({"servers": {"agentbus": OURS}, "more": {}}, {"servers": None}),
        ({"servers": {"agentbus": OURS, "mine": OURS}}, {"servers": {"agentbus": None}}),
    ],
)
def test_an_entry_is_taken_out_with_the_tables_that_hold_nothing_else(
    tmp_path, environ, mcp, patch
):
    """What a file says plainly OpenClaw is not asked."""
    file = Path(environ["HOME"]) / ".openclaw" / "openclaw.json"
    file.write_text(json.dumps({"mcp": mcp}))
    answers(tmp_path, {})
    steps = openclaw.uninstall(Machine(settings_at(tmp_path / "bus", **environ)))

    assert [step.do() for step in steps] == [""]
    asked = (tmp_path / "arguments").read_text().splitlines()
    assert asked == ["--version", "config patch --stdin"]
    assert json.loads((tmp_path / "stdin").read_text()) == {"mcp": patch}
