# SPDX-License-Identifier: Apache-2.0
"""Claude Code: the plugin, with its server, skill, hooks and monitor; or the server alone.

    >>> [step.what for step in install(machine)]
    ['run `claude plugin marketplace add /.../mcp_agentbus/plugin`', 'run `claude plugin ...`', ...]

Claude Code writes its own files, by its own commands. The plugin is read where it lies. Its
launcher finds this installation by a note in the plugin's data folder, which Claude Code removes
together with the plugin. A server entry of ours from before gives way to it: two would be two
sessions. What the user has written is left as it is.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers import assets
from mcp_agentbus.installers._parts import allowed, entry, files
from mcp_agentbus.installers._parts.claude import plugins, policy
from mcp_agentbus.installers._parts.claude.plugins import MARKETPLACE, NOTE, PLUGIN
from mcp_agentbus.installers._parts.entry import SERVER
from mcp_agentbus.installers.steps import Machine, Step, SwitchedOff

from mcp_agentbus.core import hosts, places
from mcp_agentbus.core.files import HOSTS_MAX_BYTES, read_whole
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadInput, BadSetup

NAME: Final = "claude-code"
_TITLE: Final = hosts.named(NAME).title
_ALLOWED: Final = "allowed"
# Of what Claude Code says of a server that it does not get through to.
_WHY_MAX_CHARS: Final = 300
_NEEDS: Final = "Put `claude` on PATH (npm install -g @anthropic-ai/claude-code), then try again."
#: Where what an entry said can stand, now that the plugin takes its place.
_ELSEWHERE: Final = ": say that in .agentbus.toml or export it"

FolderOf = Callable[[], Path]


def found(machine: Machine) -> str | None:
    """Return Claude Code's version and where it is; None if it is not here."""
    return machine.found("claude", _TITLE)


def install(
    machine: Machine,
    *,
    agent: str | None = None,
    fallback: bool = False,
    allow_tools: Sequence[str] | None = None,
    plugin_folder: FolderOf = assets.plugin_folder,
) -> list[Step]:
    """Return the steps that connect Claude Code: by the plugin, if it knows plugins.

    Args:
        machine: where to work.
        agent: who its sessions are, which only an entry can say; else each folder tells.
        fallback: only the server's entry, without the plugin.
        allow_tools: the tools that the plugin lets run without asking; as before if not given.
        plugin_folder: gives the folder of the plugin; the one that came along if not given.

    Raises:
        BadInput: the plugin has no place for an agent's id.
        BadSetup: Claude Code is not here, or an entry of that name starts something else.
    """
    program = _program(machine)
    before = _server(machine)
    if before is not None and not entry.is_ours(before):
        raise BadSetup(
            "Claude Code has a server `agentbus` that does not start agentbus; it is left alone.",
            hint=f"See `claude mcp get {SERVER}`; `claude mcp remove {SERVER} -s user` removes it.",
        )
    if fallback or not plugins.known(machine, program):
        # First: what is there stays where Claude Code, or who manages it, takes no entry.
        return [_add_entry(machine, program, agent), *_removals(machine, program)]
    if agent:
        raise BadInput(
            "Claude Code gets a plugin, which has no place for an agent's id.",
            hint=f'Write agent = "{agent}" into .agentbus.toml of the folder in which Claude Code '
            f"works, or export AGENTBUS_AGENT={agent}. For all folders at once, without the "
            f"plugin's hooks and skill: agentbus install {NAME} --no-plugin --agent {agent}",
        )
    folder = plugin_folder()
    if theirs := plugins.others(machine, program):
        raise BadSetup(
            f"Claude Code has another marketplace `{MARKETPLACE}`, with {', '.join(theirs)}; "
            "it is left alone.",
            hint=f"`claude plugin marketplace remove {MARKETPLACE}` removes it and them; then run "
            f"the command again. Beside it: agentbus install {NAME} --no-plugin",
        )
    added: list[Path] = []
    steps = [
        _add_marketplace(machine, program, folder, added),
        _add_plugin(machine, program, added),
        _write_note(machine),
    ]
    if allow_tools is not None:
        steps.append(allowed.write(plugins.data(machine) / _ALLOWED, allow_tools))
    if before is not None:
        steps.append(_remove_entry(machine, program, hint=_ELSEWHERE))
    return steps


def allowed_tools(machine: Machine) -> Sequence[str] | None:
    """Return the tools that its user let run without being asked; None if nothing was chosen yet.

    Raises:
        BadSetup: the file that says so cannot be read.
    """
    return allowed.read(plugins.data(machine) / _ALLOWED)


def uninstall(machine: Machine) -> list[Step]:
    """Return the steps that take out what `install` put in, and nothing else.

    Raises:
        BadSetup: Claude Code is not here, and something of ours is: only it can change its files.
    """
    if machine.program("claude") is None and not _left_traces(machine):
        return []
    program = _program(machine)
    steps = _removals(machine, program)
    before = _server(machine)
    if before is not None and entry.is_ours(before):
        steps.append(_remove_entry(machine, program))
    return steps


def gone(machine: Machine) -> str:
    """Return what is not there of ours: an entry's program, the plugin's folder or its program.

    Raises: as `verify`.
    """
    program, before = _program(machine), _server(machine)
    if before is not None:
        return entry.gone(before)
    if not plugins.known(machine, program) or not plugins.plugin(machine, program):
        return ""
    folder = str(plugins.marketplace(machine, program).get("path", ""))
    note = files.content(plugins.data(machine) / NOTE) or b""
    noted = os.fsdecode(note.partition(b"\n")[0])
    return next((each for each in (folder, noted) if each and not Path(each).exists()), "")


def renewal(machine: Machine) -> list[Step]:
    """Return the steps that connect it anew, as it was connected; raises as `install`."""
    return install(machine, fallback=_server(machine) is not None)


def verify(machine: Machine) -> str:
    """Have Claude Code start the server; say that it is connected.

    The others of the user's servers are not started, as `claude mcp list` would.

    Raises:
        SwitchedOff: its user has disabled the plugin, or settings its hooks.
        BadSetup: it is not there, or Claude Code does not get through to it.
    """
    program = _program(machine)
    ours = plugins.plugin(machine, program) if plugins.known(machine, program) else {}
    if ours.get("enabled"):
        name = f"plugin:agentbus:{SERVER}"
    elif _server(machine) is not None:
        name = SERVER
    elif ours:
        raise SwitchedOff(
            "its plugin is disabled", hint=f"To enable it: claude plugin enable {PLUGIN}"
        )
    else:
        raise BadSetup("Claude Code has no agentbus.", hint="Run `agentbus install claude-code`.")
    hint = f"Try {shlex.join([*machine.agentbus, 'serve'])} by hand, and `claude mcp get {name}`."
    try:
        shown = machine.run([program, "mcp", "get", name])
    except BadSetup as error:
        not_let_in = name != SERVER and policy.UNKNOWN in error.message
        raise BadSetup(error.message, hint=policy.NOT_LET_IN if not_let_in else hint) from None
    # It ends with 0 whatever became of the server.
    lines = dict(re.findall(r"^\s*(Status|Issue):\s*(.*?)[\s.]*$", shown, re.MULTILINE))
    if "Connected" not in lines.get("Status", ""):
        # What its launcher answers says more than that it failed.
        why = lines.get("Issue") or lines.get("Status") or "no status"
        raise BadSetup(
            f"Claude Code does not get through to agentbus: {why[:_WHY_MAX_CHARS]}.", hint=hint
        )
    about = f"Claude Code started agentbus ({name}) and is connected"
    if name == SERVER:
        return about
    policy.check_hooks(machine)
    return f"{about}; {allowed.told(allowed_tools(machine) or ())}"


def _program(machine: Machine) -> str:
    """Return Claude Code's program; raises BadSetup if it is not here."""
    return machine.needs("claude", _TITLE, _NEEDS)


def _server(machine: Machine) -> dict[str, Any] | None:
    """Return the user's server entry of our name.

    Read from the file: `claude mcp get` would start whatever it names, and joins its arguments.
    """
    given = machine.environ.get("CLAUDE_CONFIG_DIR")
    file = (Path(given) if given else machine.home) / ".claude.json"
    try:
        document = from_json(read_whole(file, HOSTS_MAX_BYTES))
        server = document.get("mcpServers", {}).get(SERVER)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError):
        raise BadSetup(f"{file} cannot be read.", hint="Run `claude doctor`.") from None
    return server if isinstance(server, dict) or server is None else {}


def _left_traces(machine: Machine) -> bool:
    """Tell whether our installer has been here, by files: without Claude Code nothing else can."""
    before = _server(machine)
    return (plugins.data(machine) / NOTE).exists() or (before is not None and entry.is_ours(before))


def _command(machine: Machine, program: str, argv: list[str]) -> Step:
    def do() -> str:
        machine.run([program, *argv])
        return ""

    return Step(f"run `{shlex.join(['claude', *argv])}`", do)


def _add_marketplace(machine: Machine, program: str, folder: Path, added: list[Path]) -> Step:
    step = _command(machine, program, ["plugin", "marketplace", "add", str(folder)])

    def do() -> str:
        before = plugins.marketplace(machine, program)
        if before.get("source") == "directory" and before.get("path") == str(folder):
            return "it is there already"
        with policy.let_in():
            step.do()  # one of that name from elsewhere now points here
        added.extend([] if before else [folder])
        return f"in the place of {before.get('path') or before.get('repo')}" if before else ""

    return Step(step.what, do)


def _add_plugin(machine: Machine, program: str, added: list[Path]) -> Step:
    step = _command(machine, program, ["plugin", "install", PLUGIN, "--scope", "user"])
    update = _command(machine, program, ["plugin", "update", PLUGIN, "--scope", "user"])
    had_none = not plugins.plugin(machine, program)

    def do() -> str:
        # A marketplace alone, which was not there before, brings no plugin.
        before = {} if added and had_none else plugins.plugin(machine, program)
        if not before.get("enabled"):
            try:
                with policy.let_in():
                    step.do()
            except BadSetup:
                if added:  # for this alone
                    _remove_marketplace(machine, program).do()
                raise
            return ""
        here = before.get("folderVersion", before.get("version"))
        if before.get("version") == here:
            return "it is there already"
        update.do()
        return f"{before.get('version')} is now {here}"

    return Step(step.what, do)


def _write_note(machine: Machine) -> Step:
    # A launcher that gets a Python starts `-m mcp_agentbus` with it. The last line is the Python
    # for the plugin's scripts: that of PATH may be a shim, or none.
    lines = [machine.program_file, places.home(machine.environ) or "", sys.executable]
    file, note = plugins.data(machine) / NOTE, os.fsencode("".join(f"{line}\n" for line in lines))

    def do() -> str:
        if any("\n" in line for line in lines):
            raise BadSetup("A folder of agentbus has a line break in its name.")
        if files.content(file) == note:
            return "it is there already"
        files.write(file, note)
        return ""

    return Step(f"write {file}: where agentbus is{entry.beside_plugin(machine)}", do)


def _add_entry(machine: Machine, program: str, agent: str | None) -> Step:
    wanted = entry.made(machine, _server(machine), agent=agent, host=NAME, alwaysLoad=True)
    # On standard input: other users see a process's arguments, and a user may have put a secret
    # into the entry's environment.
    argv = [program, "mcp", "add-json", "-s", "user", SERVER, "-"]

    def do() -> str:
        before = _server(machine)
        if before == wanted:
            return "it is there already"
        if before is None:
            machine.run(argv, stdin=json.dumps(wanted))
            return ""
        _remove_entry(machine, program).do()  # it refuses to replace one
        try:
            machine.run(argv, stdin=json.dumps(wanted))
        except BadSetup:
            _put_back(machine, argv, before)
            raise
        return ""

    starts = shlex.join([wanted["command"], *map(str, wanted["args"])])
    return Step(f"run `claude mcp add-json -s user {SERVER} -`: starts {starts}", do)


def _put_back(machine: Machine, argv: list[str], server: dict[str, Any]) -> None:
    """Add an entry again that was taken out for a newer one, which Claude Code did not take.

    Raises:
        BadSetup: it does not take this one either.
    """
    try:
        machine.run(argv, stdin=json.dumps(server))
    except BadSetup as error:
        shown = " ".join(entry.additions(server)) or "nothing of its own"  # no values: secrets
        raise BadSetup(
            f"The server entry was taken out and no entry can be put in: {error.message}",
            hint=f"Run the command again; the entry had said {shown}.",
        ) from None


def _remove_entry(machine: Machine, program: str, hint: str = "") -> Step:
    step = _command(machine, program, ["mcp", "remove", SERVER, "-s", "user"])

    def do() -> str:
        before = _server(machine)
        if before is None:
            return "it is gone"
        step.do()
        kept = entry.all_said(before)
        return f"it said {' '.join(kept)}{hint}" if kept else ""

    return Step(step.what, do)


def _removals(machine: Machine, program: str) -> list[Step]:
    """Return the steps that take out the plugin, as far as it is there."""
    if not plugins.known(machine, program):
        return []
    steps = []
    has_plugin, has_marketplace, folders = plugins.removable(machine, program)
    if has_plugin:
        argv = ["plugin", "uninstall", PLUGIN, "--scope", "user"]
        steps.append(_command(machine, program, argv))
    if has_marketplace:
        steps.append(_remove_marketplace(machine, program))
    # A copy of the plugin, and the note if it was written without the plugin, stay behind.
    for folder in folders:
        if steps or folder.is_dir():
            steps.append(_remove_folder(folder))
    return steps


def _remove_marketplace(machine: Machine, program: str) -> Step:
    # Of no scope: where settings were put back to what they were before an install, none names it.
    # A project's are safe, as this runs in no project's folder.
    argv = ["plugin", "marketplace", "remove", MARKETPLACE]
    step = _command(machine, program, argv)
    projects = plugins.projects(machine, program)  # which no step before this one changes

    def do() -> str:
        step.do()
        return f"take {PLUGIN} out of {', '.join(projects)} by hand" if projects else ""

    return Step(step.what, do)


def _remove_folder(folder: Path) -> Step:
    def do() -> str:
        with files.told(folder, "removed"):
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                return "it is gone"
        return ""

    return Step(f"remove {folder}", do)
