# SPDX-License-Identifier: Apache-2.0
"""Hosts with a command of their own: what is run, twice too, and what is said when it fails."""

from __future__ import annotations

import json
import shlex

import pytest
from local_server import settings_at
from mcp_agentbus.installers import any_host
from mcp_agentbus.installers.steps import Machine

from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.doctor import hosts
from mcp_agentbus.errors import BadSetup

HOSTS = {host.name: host for host in (any_host.CODEX, any_host.COPILOT, any_host.GEMINI)}
VERSIONS = {"codex": "codex-cli 0.169.0", "copilot": "GitHub Copilot CLI 1.0.102.", "gemini": "0.61.0"}  # fmt: skip
# Keeps the words of `mcp add` and shows them, each as the real one does. Copilot is as strict as
# the real one about what is there and what is not; what each says without an entry and with a
# broken configuration is theirs, too.
RECORDER = """#!/bin/sh
PATH=/usr/bin:/bin
folder="$(dirname "$0")"
name="$(basename "$0")"
if [ "$1" = --version ]; then echo "$SAYS"; exit; fi
printf '%s\\n' "$*" >> "$folder/calls"
if [ -e "$folder/broken" ]; then
  printf '\\033[31mError: failed to load configuration\\033[0m\\n\\n' >&2
  printf 'Caused by:\\n  0: line 1: unclosed array\\n' >&2
  printf 'Stack backtrace:\\n  0: <unknown>\\n' >&2
  exit 1
fi
case "$2" in
  add)
    if [ "$name" = copilot ] && [ -e "$folder/has" ]; then echo "already exists" >&2; exit 1; fi
    if [ -e "$folder/takes-none" ]; then echo "no room" >&2; exit 1; fi
    if [ -e "$folder/takes-no-newer" ]; then
      case "$*" in *"/old/agentbus serve"*) ;; *) echo "no room" >&2; exit 1 ;; esac
    fi
    printf '%s\\n' "$*" > "$folder/has"
    given= before=
    for word in "$@"; do
      if [ "$before" = --env ]; then given="$given,\\"${word%%=*}\\":\\"${word#*=}\\""; fi
      before="$word"
    done
    echo "{${given#,}}" > "$folder/given" ;;
  remove)
    if [ "$name" = copilot ] && ! [ -e "$folder/has" ]; then echo "not found" >&2; exit 1; fi
    rm -f "$folder/has" ;;
  get)
    if ! [ -e "$folder/has" ]; then
      if [ "$name" = copilot ]; then
        printf 'Error: Server "agentbus" not found.\\n\\nAvailable servers:\\n  (none)\\n' >&2
      else
        echo "Error: No MCP server named 'agentbus' found." >&2
        printf 'Stack backtrace:\\n  0: <unknown>\\n' >&2
      fi
      exit 1
    fi
    if [ "$4" = --json ]; then
      if [ "$name" = copilot ]; then key=agentbus; else key=transport; fi
      printf '{"%s": {"env": %s, "command": "/bin/agentbus", "args": ["serve", 1]}%s}' \\
        "$key" "$(cat "$folder/given")" "$(cat "$folder/more" 2>/dev/null)"
      exit
    fi
    words="$(sed 's/.* -- //' "$folder/has")"
    if [ -e "$folder/off" ] && [ "$name" = codex ]; then echo 'agentbus (disabled)'; exit; fi
    echo agentbus
    if [ "$name" = copilot ]; then
      if [ -e "$folder/off" ]; then echo '  Status: Disabled'; else echo '  Status: Enabled'; fi
      printf '  Type: local\\n  Command: %s\\n' "$words"
      if [ -e "$folder/env" ]; then cat "$folder/env"; else echo '  Tools: *'; fi
      echo '  Source: User'
      exit
    fi
    echo '  enabled: true'
    printf '  command: %s\\n  args: %s\\n' "${words%% *}" "${words#* }"
    if [ -e "$folder/env" ]; then cat "$folder/env"; else printf '  cwd: -\\n  env: -\\n'; fi
    echo '  remove: codex mcp remove agentbus' ;;
  list)
    if ! [ -e "$folder/has" ]; then echo "No MCP servers configured." >&2; exit; fi
    echo "○ other: /bin/agentbus serve --agent another (stdio) - Disabled" >&2
    echo "○ my agentbus: /bin/agentbus serve --agent another (stdio) - Disabled" >&2
    # As where FORCE_COLOR is exported.
    grey="$(printf '\\033[90m○\\033[39m')"
    echo "$grey agentbus: $(sed 's/.* agentbus //' "$folder/has") (stdio) - Disabled" >&2 ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    return Machine(settings_at(tmp_path / "my bus", HOME=str(tmp_path), PATH=str(tmp_path)))


@pytest.fixture(params=HOSTS)
def host(request, tmp_path):
    made = HOSTS[request.param]
    program = tmp_path / made.program
    program.write_text(RECORDER.replace("$SAYS", VERSIONS[made.name]))
    program.chmod(0o700)
    return made


def run(steps):
    return [step.do() for step in steps]


def calls(tmp_path):
    file = tmp_path / "calls"
    return [line for line in file.read_text().splitlines() if line.split()[1] in {"add", "remove"}]


def test_the_hosts_own_command_registers_the_server(host, machine, tmp_path):
    run(host.install(machine))

    command = " ".join([*machine.agentbus, "serve"])
    option = "-e" if host.name == "gemini" else "--env"
    variables = {"AGENTBUS_HOST": host.name, "AGENTBUS_HOME": machine.environ["AGENTBUS_HOME"]}
    given = [word for name, value in variables.items() for word in (option, f"{name}={value}")]
    assert (
        calls(tmp_path)
        == {
            "codex": [f"mcp add agentbus {' '.join(given)} -- {command}"],
            "copilot": [f"mcp add agentbus {' '.join(given)} -- {command}"],
            "gemini": [f"mcp add -s user {' '.join(given)} agentbus {command}"],
        }[host.name]
    )


def test_twice_is_as_once_and_nothing_is_left_at_the_end(host, machine, tmp_path):
    run(host.install(machine))
    once = (tmp_path / "has").read_text()
    run(host.install(machine))

    assert (tmp_path / "has").read_text() == once
    run(host.uninstall(machine))
    assert not (tmp_path / "has").exists()
    run(host.uninstall(machine))
    assert not (tmp_path / "has").exists()


def test_an_id_is_written_into_the_entry_and_stays_until_another_is_given(host, machine, tmp_path):
    serve = " ".join([*machine.agentbus, "serve"])

    run(host.install(machine, agent="reviewer"))
    assert calls(tmp_path)[-1].endswith(f" {serve} --agent reviewer")
    run(host.install(machine))
    assert calls(tmp_path)[-1].endswith(f" {serve} --agent reviewer")
    assert "answers with 5 tools" in host.verify(machine)
    run(host.install(machine, agent="tester"))
    assert calls(tmp_path)[-1].endswith(f" {serve} --agent tester")


# What else the user has set, as each shows it; of Gemini's nothing is shown.
SET = {
    "codex": "  enabled_tools: read_inbox\n  cwd: /w\n  env: AGENTBUS_HOST=*****, MINE=*****\n"
    "  tool_timeout_sec: 200\n  default_tools_approval_mode: prompt\n",
    "copilot": "  Environment:\n    AGENTBUS_HOST: ***\n    MINE: ***\n  Tools: read_inbox\n"
    "  Timeout: 20000ms\n",
    "gemini": "",
}
LOST = {
    "codex": "; not kept: MINE, enabled_tools, cwd, tool_timeout_sec, default_tools_approval_mode; "
    "nor is what Codex does not show: approval modes of single tools",
    "copilot": "; not kept: MINE, Tools, Timeout",
    "gemini": "; not kept is what Gemini CLI does not show: timeout, trust, tools, variables",
}


def test_of_what_its_user_has_set_the_arguments_stay_and_the_rest_is_named(host, machine, tmp_path):
    dashes = "" if host.name == "gemini" else "-- "
    more = "--watch-max=25s --agent reviewer"
    (tmp_path / "has").write_text(f"mcp add agentbus {dashes}/old/agentbus serve {more}\n")
    (tmp_path / "env").write_text(SET[host.name])

    [step] = host.install(machine)
    step.do()

    assert calls(tmp_path)[-1].endswith(f" serve {more}")
    assert step.what.rpartition("`")[2] == LOST[host.name]
    run(host.install(machine, agent="tester"))
    assert calls(tmp_path)[-1].endswith(" serve --agent tester --watch-max=25s")


@pytest.mark.parametrize("host", ["codex", "copilot"], indirect=True)
def test_of_one_that_is_disabled_all_is_named_that_is_not_kept(host, machine, tmp_path):
    (tmp_path / "has").write_text("mcp add agentbus -- /old/agentbus serve\n")
    (tmp_path / "given").write_text('{"MINE": "secret"}')
    more = ', "name": "agentbus", "enabled": false, "tool_timeout_sec": 200, "cwd": null'
    (tmp_path / "more").write_text(more)
    (tmp_path / "env").write_text("  Environment:\n    MINE: ***\n  tool_timeout_sec: 200\n")
    (tmp_path / "off").touch()

    [step] = host.install(machine)

    lost = step.what.rpartition("`")[2]
    assert lost.startswith("; not kept: that it is disabled, MINE, tool_timeout_sec")
    assert ("cwd" in lost, "secret" in lost) == (False, False)


def test_an_entry_that_starts_what_it_should_is_left_as_its_user_has_it(host, tmp_path):
    """A host's own command writes an entry anew, without what its user has set there."""
    plain = Machine(settings_at(tmp_path / "bus", HOME=str(tmp_path), PATH=str(tmp_path)))
    environ = {name: value for name, value in plain.environ.items() if name != "AGENTBUS_HOME"}
    plain = Machine(load_settings(environ))
    run(host.install(plain, agent="reviewer"))
    (tmp_path / "env").write_text(SET[host.name])
    before = calls(tmp_path)

    for agent in (None, "reviewer"):
        [step] = host.install(plain, agent=agent)
        assert step.what == f"keep the entry of {host.title}: it is there already"
        step.do()
    assert calls(tmp_path) == before

    elsewhere = Machine(load_settings({**environ, "AGENTBUS_HOME": str(tmp_path / "other")}))
    [step] = host.install(elsewhere)
    assert step.what.endswith(LOST[host.name])
    if host.name != "gemini":  # which shows no variable
        step.do()
        assert "keep the entry" in host.install(elsewhere)[0].what
        assert "keep the entry" not in host.install(plain)[0].what


@pytest.mark.parametrize("host", ["copilot"], indirect=True)
def test_an_entry_that_was_taken_out_for_one_that_is_not_taken_comes_back(host, machine, tmp_path):
    (tmp_path / "has").write_text("mcp add agentbus -- /old/agentbus serve --agent reviewer\n")
    (tmp_path / "takes-no-newer").touch()

    with pytest.raises(BadSetup, match="no room"):
        run(host.install(machine))
    assert (tmp_path / "has").read_text().endswith(" -- /old/agentbus serve --agent reviewer\n")

    (tmp_path / "takes-none").touch()
    with pytest.raises(BadSetup, match=r"taken out.*no room.*serve --agent reviewer"):
        run(host.install(machine))


@pytest.mark.parametrize(
    "words",
    ["/bin/other serve", "/bin/agentbus sync", "docker run acme/agentbus serve", "https://x"],
)
def test_another_projects_server_of_that_name_is_left_alone(host, machine, tmp_path, words):
    theirs = f"mcp add agentbus {'' if host.name == 'gemini' else '-- '}{words}\n"
    (tmp_path / "has").write_text(theirs)

    with pytest.raises(BadSetup, match=rf"does not start agentbus.*`{host.program} mcp remove"):
        host.install(machine)

    assert host.uninstall(machine) == []
    assert (tmp_path / "has").read_text() == theirs


@pytest.mark.parametrize("words", ["/old/agentbus serve", "/bin/python3 -P -m mcp_agentbus serve"])
def test_an_entry_of_an_earlier_agentbus_is_ours(host, machine, tmp_path, words):
    dashes = "" if host.name == "gemini" else "-- "
    (tmp_path / "has").write_text(f"mcp add agentbus {dashes}{words} --agent reviewer\n")

    run(host.install(machine))

    assert calls(tmp_path)[-1].endswith(" serve --agent reviewer")
    assert len(host.uninstall(machine)) == 1


@pytest.mark.parametrize("host", ["copilot", "gemini"], indirect=True)
def test_an_entry_of_an_earlier_agentbus_may_have_blanks_in_its_path(
    host, machine, tmp_path, monkeypatch
):
    monkeypatch.setattr(Machine, "program_file", "/my tools/agentbus")
    dashes = "" if host.name == "gemini" else "-- "
    added = f"mcp add agentbus {dashes}{machine.program_file} serve --agent reviewer\n"
    (tmp_path / "has").write_text(added)

    assert len(host.uninstall(machine)) == 1
    run(host.install(machine))
    assert calls(tmp_path)[-1].endswith(f" {' '.join(machine.agentbus)} serve --agent reviewer")


def test_a_broken_configuration_is_not_taken_for_one_without_agentbus(host, machine, tmp_path):
    run(host.install(machine))
    (tmp_path / "broken").touch()

    for act in (host.install, host.uninstall, host.verify):
        with pytest.raises(BadSetup, match=r"unclosed array Hint: See that `.* mcp (get|list)"):
            act(machine)


def test_doctor_tells_of_a_broken_configuration(host, machine, tmp_path):
    (tmp_path / "broken").touch()

    check = hosts.host(machine.settings, host.name)

    assert check.state == "wrong"
    assert "unclosed array" in check.said


@pytest.mark.parametrize("host", ["codex", "copilot"], indirect=True)
def test_an_entry_that_its_user_has_disabled_is_ours_and_said_to_be_so(host, machine, tmp_path):
    run(host.install(machine))
    (tmp_path / "off").touch()

    check = hosts.host(machine.settings, host.name)
    assert (check.state, "Its entry is disabled." in check.said) == ("warning", True)
    assert host.enable in check.fix
    assert len(host.uninstall(machine)) == 1


def test_where_nothing_is_there_nothing_is_to_be_taken_out(host, machine):
    assert host.uninstall(machine) == []
    run(host.install(machine))
    assert len(host.uninstall(machine)) == 1


def test_a_step_says_what_it_runs_and_does_nothing_before(host, machine, tmp_path):
    [install] = host.install(machine)
    assert calls(tmp_path) == []
    install.do()
    [uninstall] = host.uninstall(machine)
    assert len(calls(tmp_path)) == 1
    uninstall.do()
    said = [shlex.split(step.what.removeprefix("run").strip(" `")) for step in (install, uninstall)]
    assert calls(tmp_path) == [" ".join(words[1:]) for words in said]


@pytest.mark.started
def test_verifying_asks_the_host_and_the_server(host, machine):
    run(host.install(machine))

    assert "answers with 5 tools" in host.verify(machine)
    run(host.uninstall(machine))
    with pytest.raises(BadSetup, match=f"Run `agentbus install {host.name}`"):
        host.verify(machine)


def test_a_host_is_told_with_its_version(host, machine, tmp_path):
    version = {"codex": "0.169.0", "copilot": "1.0.102", "gemini": "0.61.0"}[host.name]

    assert host.found(machine) == f"{host.title} {version}, {tmp_path / host.program}"


def test_a_host_that_cannot_run_is_told_with_the_reason(host, machine, tmp_path):
    (tmp_path / host.program).write_text("#!/bin/sh\necho 'needs a newer Node.js' >&2; exit 1\n")

    assert host.found(machine) == (
        f"{host.title}, {tmp_path / host.program} (does not run: "
        f"`{host.program} --version` failed: needs a newer Node.js)"
    )
    with pytest.raises(BadSetup, match=r"needs a newer Node\.js"):
        run(host.install(machine))
    assert hosts.host(machine.settings, host.name).said.count("needs a newer Node.js") == 1


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_that_is_not_there_is_told(name, machine):
    assert HOSTS[name].found(machine) is None
    for act in (HOSTS[name].install, HOSTS[name].uninstall, HOSTS[name].verify):
        with pytest.raises(BadSetup, match=rf"not on PATH.*Put `{HOSTS[name].program}`"):
            run(act(machine))


def test_the_printed_entry_names_an_agent_if_one_is_given(machine):
    printed = json.loads(any_host.printed(machine, "reviewer"))

    assert printed["mcpServers"]["agentbus"]["args"][-3:] == ["serve", "--agent", "reviewer"]


def test_what_is_printed_is_the_entry_of_any_host(machine):
    assert json.loads(any_host.printed(machine)) == {
        "mcpServers": {
            "agentbus": {
                "command": machine.agentbus[0],
                "args": [*machine.agentbus[1:], "serve"],
                "env": {"AGENTBUS_HOME": machine.environ["AGENTBUS_HOME"]},
            }
        }
    }
