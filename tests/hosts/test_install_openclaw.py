# SPDX-License-Identifier: Apache-2.0
"""OpenClaw's installer on the files that users have: what becomes of them, and what it says."""

import json
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from local_server import script, server_folder, settings_at
from mcp_agentbus.installers import openclaw
from mcp_agentbus.installers._parts import folder
from mcp_agentbus.installers.steps import Machine
from openclaw_user import entry, on_path

from mcp_agentbus.doctor import hosts
from mcp_agentbus.errors import BadSetup

REPOSITORY = Path(__file__).parents[2]
SKILL = REPOSITORY / "skills" / "using-agentbus"
USERS_TOKEN = "my-own-token"
USERS_SECRET = "my-own-secret"
BY_HAND = f"""\
{{
  // my notes
  mcp: {{ servers: {{ agentbus: {{
    command: "/gone/agentbus", args: ["serve", "--agent", "claw"], requestTimeoutMs: 90000,
    env: {{ MINE: "{USERS_SECRET}", AGENTBUS_HOME: "/gone" }},
  }} }} }},
  hooks: {{ enabled: true, token: "{USERS_TOKEN}" }},
}}
"""


@pytest.fixture
def claw(tmp_path):
    """A user with the real OpenClaw on PATH, whose every argument is noted."""
    noted = tmp_path / "arguments"
    folder = tmp_path / "bin"
    folder.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    environ = {
        "HOME": str(home),
        "PATH": on_path(folder, noted),
        "TERM": "xterm",
        "NO_COLOR": "1",
    }
    with server_folder(tmp_path / "bus", **environ) as settings:
        machine = Machine(settings)
        yield SimpleNamespace(
            machine=machine,
            config=home / ".openclaw" / "openclaw.json",
            skill=home / ".openclaw" / "skills" / SKILL.name,
            token=settings.config_file.parent / "openclaw-hooks.token",
            arguments=noted.read_text,
        )


def take(steps):
    """Take every step; what they said."""
    return [step.do() for step in steps]


def install(claw):
    return take(openclaw.install(claw.machine, SKILL))


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.node
def test_what_its_user_has_set_stays_unseen_and_only_comments_are_lost(claw):
    claw.config.parent.mkdir()
    claw.config.write_text(BY_HAND)

    steps = openclaw.install(claw.machine, SKILL)
    take(steps)
    once = json.loads(claw.config.read_bytes())
    token = claw.token.read_text().strip()
    take(openclaw.uninstall(claw.machine))
    left = json.loads(claw.config.read_bytes())

    ours = entry(claw.machine)
    assert once["mcp"]["servers"]["agentbus"] == {
        **ours,
        "args": [*ours["args"][:-1], "claw"],
        "requestTimeoutMs": 90_000,
        "env": {"MINE": USERS_SECRET, **ours["env"], "AGENTBUS_WATCH_MAX_S": "85"},
    }
    assert token == USERS_TOKEN
    assert once["hooks"] == left["hooks"] == {"enabled": True, "token": USERS_TOKEN}
    assert "mcp" not in left
    assert not claw.token.exists()
    assert not list(claw.config.parent.glob("*.rejected*"))  # a file with little else in it
    shown = claw.arguments() + str([step.what for step in steps])
    assert not [secret for secret in (USERS_SECRET, USERS_TOKEN) if secret in shown]


@pytest.mark.node
def test_hooks_in_another_file_stay_as_they_are_by_a_second_install(claw):
    claw.config.parent.mkdir()
    server = json.dumps({"servers": {"agentbus": entry(claw.machine)}})
    (claw.config.parent / "h.json5").write_text(f'{{ token: "{USERS_TOKEN}" }} // mine')
    before = f'{{ "mcp": {server}, "hooks": {{ "$include": "./h.json5" }} }} // mine'
    claw.config.write_text(before)

    said = install(claw)

    assert said[0] == "it is there already"
    assert said[-1].startswith("hooks.enabled is not true, and stays so")
    assert claw.config.read_text() == before
    assert not claw.token.exists()


@pytest.fixture
def box(tmp_path):
    """A user with a program that only says what version of OpenClaw it is."""
    program = script(tmp_path / "openclaw", 'echo "OpenClaw 2026.9.6 (eb377ac)"')
    home = tmp_path / "home"
    (home / ".openclaw").mkdir(parents=True)
    settings = settings_at(tmp_path / "bus", HOME=str(home), PATH=str(tmp_path))
    return SimpleNamespace(
        machine=Machine(settings),
        program=program,
        config=home / ".openclaw" / "openclaw.json",
        skill=home / ".openclaw" / "skills" / SKILL.name,
        token=settings.config_file.parent / "openclaw-hooks.token",
    )


def test_another_projects_server_beside_comments_is_left_alone(box):
    theirs = {"agentbus": {"command": "/gone/other", "args": ["serve"]}}
    script(box.program, f"echo {shlex.quote(json.dumps(theirs))}")  # what it says it has
    before = BY_HAND.replace("/gone/agentbus", "/gone/other")
    box.config.write_text(before)

    with pytest.raises(BadSetup, match="does not start agentbus"):
        install(box)
    assert box.config.read_text() == before


def test_it_says_which_openclaw_it_found(box):
    assert openclaw.found(box.machine) == f"OpenClaw 2026.9.6, {box.program}"


@pytest.mark.parametrize("there", [True, False])
def test_what_is_not_there_or_does_not_run_is_said_to_be_so(box, there):
    box.program.unlink()
    about = None
    if there:
        script(box.program, "echo openclaw: needs a newer node >&2", "echo nvm install >&2; exit 1")
        about = (
            f"OpenClaw, {box.program} (does not run: `openclaw --version` failed: "
            "openclaw: needs a newer node nvm install)"
        )
        check = hosts.host(box.machine.settings, "openclaw")
        assert (check.state, check.said) == ("warning", f"{about}: not connected")

    assert openclaw.found(box.machine) == about
    with pytest.raises(BadSetup, match=r"Hint: Put `openclaw` on PATH .* 24.16"):
        openclaw.install(box.machine, SKILL)
    assert files(box.machine.home) == {}


def test_a_probe_that_fails_says_what_to_try(box):
    script(box.program, 'if [ "$1" = mcp ]; then echo "openclaw: no such server" >&2; exit 1; fi')

    with pytest.raises(
        BadSetup, match=r"`openclaw mcp probe` failed: .*Hint: Try .* serve by hand"
    ):
        openclaw.verify(box.machine)


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"enabled": False}, "hooks.enabled is not true"),
        ({"token": USERS_TOKEN}, "hooks.enabled is not true"),
        ({"enabled": True, "token": "${MINE}"}, "put it into"),
    ],
)
@pytest.mark.parametrize("comment", ["", " // mine"])
def test_hooks_that_are_not_ours_to_set_stay_and_are_named(box, hooks, said, comment):
    script(box.program, f"echo {shlex.quote(json.dumps(hooks))}")  # what it says it has
    box.config.write_text(json.dumps({"hooks": hooks}) + comment)

    assert said in install(box)[-1]
    assert not box.token.exists()
    assert all("patch" not in step.what for step in openclaw.uninstall(box.machine))


@pytest.mark.parametrize(
    ("more", "patch"),
    [
        ({}, {"hooks": None}),
        ({"internal": {}}, {"hooks": {"enabled": None, "token": None}}),
    ],
)
def test_only_our_own_keys_of_the_hooks_are_taken_out(box, more, patch):
    hooks = {"enabled": True, "token": "agentbus-1", **more}
    box.config.write_text(json.dumps({"hooks": hooks}))
    script(box.program, f"/bin/cat >> {shlex.quote(str(box.config.parent / 'told'))}")

    take(openclaw.uninstall(box.machine))

    assert json.loads((box.config.parent / "told").read_text()) == patch


def test_server_and_hooks_are_taken_out_by_one_run_of_openclaw(box):
    ours = {"command": "/gone/agentbus", "args": ["serve"]}
    document = {"mcp": {"servers": {"agentbus": ours}}, "hooks": {"token": "agentbus-1"}}
    box.config.write_text(json.dumps(document))
    told = shlex.quote(str(box.config.parent / "told"))
    file = shlex.quote(str(box.config))
    script(box.program, f"/bin/cat >> {told}; [ $1 = --version ] || echo '{{}}' > {file}")

    said = take(openclaw.uninstall(box.machine))

    assert json.loads((box.config.parent / "told").read_text()) == {"mcp": None, "hooks": None}
    assert said == ["", ""]


# OpenClaw, as far as it changes its file: not if 512 bytes or more would be less than their half.
REFUSING = """\
import json, pathlib, sys
file = pathlib.Path(sys.argv[1])
if sys.argv[2:] != ["config", "patch", "--stdin"]:
    sys.exit()
def patched(old, changes):
    for key, change in changes.items():
        if change is None:
            old.pop(key, None)
        else:
            old[key] = patched(old.get(key, {}), change) if isinstance(change, dict) else change
    return old
before = file.read_text()
after = json.dumps(patched(json.loads(before), json.load(sys.stdin)), indent=2)
refused = 512 <= len(before) and len(after) < len(before) / 2
with file.with_name("tried").open("a") as tried:
    print("refused" if refused else "written", file=tried)
if not refused:
    file.write_text(after)
sys.exit(refused)
"""


@pytest.mark.parametrize(("rest", "writes"), [(1, 2), (200, 3), (600, 2), (2000, 1)])
def test_no_write_that_takes_out_server_and_hooks_is_refused(box, tmp_path, rest, writes):
    python = tmp_path / "refusing.py"
    python.write_text(REFUSING)
    words = [sys.executable, "-I", "-S", str(python), str(box.config)]
    script(box.program, f'exec {shlex.join(words)} "$@"')
    before = {"mine": "x" * rest}
    ours = {"command": "/gone/agentbus", "args": ["serve"], "env": {"AGENTBUS_HOME": "/" * 400}}
    hooks = {"enabled": True, "token": f"agentbus-{'t' * 43}"}
    server = {"mcp": {"servers": {"agentbus": ours}}}
    box.config.write_text(json.dumps({**before, **server, "hooks": hooks}, indent=2))

    take(openclaw.uninstall(box.machine))

    assert json.loads(box.config.read_bytes()) == before
    assert (box.config.parent / "tried").read_text().split() == ["written"] * writes


def test_what_is_ours_is_found_in_a_file_with_comments_too(box):
    box.token.parent.mkdir()
    box.token.write_text("agentbus-1\n")
    box.config.write_text("{ hooks: { token: 'agentbus-1' }, mcp: { servers: { agentbus: {} } } }")

    server, hooks, token = openclaw.uninstall(box.machine)

    assert "config patch --stdin`: no mcp.servers.agentbus" in server.what
    assert "config patch" in hooks.what
    assert str(box.token) in token.what


def test_a_token_that_was_changed_since_is_the_users(box):
    box.config.write_text(json.dumps({"hooks": {"enabled": True, "token": "agentbus-1"}}))
    script(box.program, f"/bin/cat >> {shlex.quote(str(box.config.parent / 'told'))}")
    [step] = openclaw.uninstall(box.machine)
    box.config.write_text(json.dumps({"hooks": {"enabled": True, "token": USERS_TOKEN}}))

    assert step.do() == "hooks.token is another one now, and stays"
    assert not (box.config.parent / "told").exists()


def test_a_hook_elsewhere_is_said_not_to_be_reached(box):
    hooks = {"enabled": True, "token": USERS_TOKEN, "path": "/claw"}
    box.config.write_text(json.dumps({"hooks": hooks}))

    assert "hooks.path is '/claw'" in install(box)[-1]


def test_a_skill_that_is_a_link_is_refused_and_stays(box, tmp_path):
    box.skill.parent.mkdir()
    box.skill.symlink_to(shutil.copytree(SKILL, tmp_path / "mine"))

    with pytest.raises(BadSetup, match=r"symlink to .*Take the link away"):
        install(box)

    assert files(tmp_path / "mine") == files(SKILL)
    [token] = openclaw.uninstall(box.machine)
    assert str(box.token) in token.what


def test_a_skill_that_somebody_has_changed_is_neither_overwritten_nor_removed(box):
    install(box)
    (box.skill / "SKILL.md").write_text("mine now")

    with pytest.raises(BadSetup, match=r"SKILL\.md is not as agentbus wrote it"):
        install(box)
    said = take(openclaw.uninstall(box.machine))

    assert said[0] == f"left {box.skill}/SKILL.md: it was changed"
    assert files(box.skill) == {"SKILL.md": b"mine now"}


def test_a_copy_without_a_list_is_taken_over_and_what_is_beside_it_stays(box):
    shutil.copytree(SKILL, box.skill)
    (box.skill / "mine.md").write_text("mine")

    install(box)
    install(box)
    once = files(box.skill)
    take(openclaw.uninstall(box.machine))

    assert set(once) == {*files(SKILL), "mine.md", folder.LIST}
    assert files(box.skill) == {"mine.md": b"mine"}


def test_without_openclaw_its_file_is_named_and_the_rest_is_removed(box):
    ours = {"command": "/gone/agentbus", "args": ["serve"]}
    box.config.write_text(json.dumps({"mcp": {"servers": {"agentbus": ours}}}))
    install(box)
    box.program.unlink()

    *_, server, token = steps = openclaw.uninstall(box.machine)
    with pytest.raises(BadSetup, match="OpenClaw is not on PATH"):
        server.do()
    for step in steps:
        if step is not server:
            step.do()

    assert list(files(box.machine.home)) == [".openclaw/openclaw.json"]
    assert str(box.token) in token.what
    assert not box.token.exists()
