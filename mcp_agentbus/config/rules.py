# SPDX-License-Identifier: Apache-2.0
"""What the user allows for the agents of this machine: host, folder, wake profile, limits.

    [agents.coder]
    host = "claude-code"
    dir = "/home/me/shop"
    wake = "answer"                  # hold: never start it; work: the host's own permissions
    quiet_hours = "22:00-07:00"

`KEYS` says of each key how it is read, where it goes and what it means; all else follows from that.
A key that would have no effect is refused, but for what an `agent add` of before may have left, and
so is one that is missing. Nothing that a task holds can change any of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mcp_agentbus.config.tables import Key, checked, of_type, readers
from mcp_agentbus.config.values import (
    Hours,
    Within,
    absolute,
    accepted,
    allow,
    boolean,
    chat,
    command,
    description,
    gateway_url,
    hours,
    instruction,
    one_of,
    permission_mode,
    senders,
    variables,
    wake_on,
)
from mcp_agentbus.core import hosts
from mcp_agentbus.core.files import led_to
from mcp_agentbus.core.ids import WAKE_ON, Agent, Priority
from mcp_agentbus.errors import BadSetup

# A disk of this machine says within that many seconds where a link leads; each agent's is asked.
_LOOKS_S: Final = 0.5
# And where all of PATH leads: what is not told by then is found by nobody who only answers.
_PATHS_LOOK_S: Final = 2.0

Profile = Literal["hold", "answer", "work"]
#: What each wake profile means.
MEANS: Final[Mapping[Profile, str]] = {
    "hold": "nothing starts it; it reads its inbox in sessions that you open",
    "answer": "a task may start it, to read and answer only",
    "work": "a task may start it, to work with its host's own permissions",
}


@dataclass(frozen=True)
class Limits:
    """How often, how long and for how much an agent may be woken."""

    #: Wakes that one sender may cause in an hour.
    per_sender_hour: int = 6
    #: Wakes in an hour.
    per_hour: int = 12
    #: Wakes in 24 hours.
    per_day: int = 50
    #: Notices of results in live sessions in an hour.
    result_notices_per_hour: int = 60
    #: A started process is ended after this many seconds.
    time_limit_s: int = 1800
    #: Turns of a model in one wake, where the host can limit them.
    max_turns: int = 30
    #: US dollars in one wake, where the host can limit them.
    max_usd: float = 1.0
    #: US dollars in 24 hours: as reported, and `max_usd` of what ended without.
    usd_per_day: float = 10.0


@dataclass(frozen=True)
class Rules:
    """What the user has set for one agent."""

    agent: str
    #: One of `hosts.WOKEN`.
    host: str
    #: Where its process is started.
    folder: Path
    profile: Profile
    #: `command` only: the argv that is started, the notice on its standard input.
    command: tuple[str, ...] = ()
    #: Senders that may wake it besides this machine's own; or `ANY_SENDER`.
    wake_from: frozenset[str] = frozenset()
    #: The priorities of tasks that wake it, from high on.
    wake_on: tuple[Priority, ...] = WAKE_ON
    #: From and to, in the user's own time; may reach over midnight.
    quiet_hours: Hours | None = None
    #: Profile `work`: the host's permission mode and allow rules.
    permission_mode: str = ""
    allow: tuple[str, ...] = ()
    #: Variables of the listener's environment that its process gets besides; see `inherited`.
    env: tuple[str, ...] = ()
    #: A line for its model, besides the notice; empty for none.
    instruction: str = ""
    #: Profile `work`: continue the agent's last conversation where no live process has it.
    resume: bool = False
    #: `cursor`: the chat that is continued.
    chat: str = ""
    #: `openclaw`: its gateway, and a 0600 file with `hooks.token`.
    url: str = "http://127.0.0.1:18789"
    token_file: Path | None = None
    #: What runs when the listener is stopped: ended with it, or left to end by itself.
    on_stop: Literal["end", "leave"] = "end"
    limits: Limits = Limits()
    #: Keys of its table that do nothing there, and count as if they were not.
    idle: tuple[str, ...] = ()

    def is_in(self, folder: Path) -> bool:
        """Tell whether it works in this folder, which is a real path; its own may be in a loop."""
        return folder == Path(os.path.normpath(self.folder)) or folder == self._real

    def outside(self, paths: Sequence[str]) -> list[str]:
        """Return which of these paths lie outside its folder, as written and where links lead.

        Of one whose file system has gone away nobody tells where it leads, so it is none of them;
        and none is where nobody tells that of its folder.
        """
        mine = str(self.folder)
        real = dict(led_to({*paths, mine}, _PATHS_LOOK_S))

        def is_inside(path: str) -> bool:
            named, folders = (
                (os.path.normpath(path), real[path]),
                (os.path.normpath(mine), real[mine]),
            )
            return any(Path(one).is_relative_to(folder) for one in named for folder in folders)

        return [path for path in paths if {path, mine} <= real.keys() and not is_inside(path)]

    @property
    def _real(self) -> Path:
        """Where its folder's links lead; itself, for as long as its file system does not tell."""
        return Path(self._looked.get(str(self.folder), self.folder))

    @cached_property
    def _looked(self) -> Mapping[str, str]:
        """What tells where its folder leads: waited for once, and taken whenever it comes."""
        return led_to([str(self.folder)], _LOOKS_S)

    def folder_lacks(self) -> str:
        """Return why nothing can be started in its folder; empty if something can.

        Where its file system has gone away this may wait for ever, as for a server of files.
        """
        try:
            is_there = stat.S_ISDIR(self.folder.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_there = False
        except OSError as error:  # as of a closed one, or where a file system has gone away
            return f"its folder {self.folder} cannot be looked at: {error.strerror}"
        if is_there and hosts.named(self.host).has_folder and _holds_home(self.folder.resolve()):
            return f"its folder {self.folder} leads to the home folder, or to what holds it"
        return "" if is_there else f"its folder {self.folder} is not there"


#: Every key of [agents.ID], in the order of docs/config.md: how it is read, the data class that has
#: it, what it means, an example, its default. To which hosts it means something, the table of hosts
#: says: to all if none names it.
KEYS: Final = (
    # What others see of the agent.
    Key("host", of_type(str), Agent,
        "Where it runs, and by what it is woken.",
        '"claude-code"', "`shell`"),
    Key("description", description, Agent,
        "One line for `list_agents`, of at most 300 characters.",
        '"Looks after the shop"', "none"),
    Key("roles", of_type(list), Agent,
        "Shared inboxes that it reads besides its own: `role:NAME`, 16 at most.",
        '["review"]', "none"),
    Key("accept_from", accepted, Agent,
        'Whose tasks it takes at all: ids and `role:NAME`; `"*"` is everybody, `[]` itself alone. '
        "What anybody else sends is refused; if it is stored all the same, it ends as `rejected`, "
        "and no model sees it.",
        '["planner", "role:lead"]', '`["*"]`'),
    # By what it is woken.
    Key("dir", absolute, Rules,
        "Where its process is started. Without it nothing is: the other keys here are for its "
        "wakes.",
        '"~/shop"', "none: live sessions only", field="folder"),
    Key("wake", one_of(*get_args(Profile)), Rules,
        "`hold`: nothing starts it. `answer`: a task may start it, to read and answer. "
        "`work`: it may, with its host's own permissions.",
        '"work"',
        "`answer` for `claude-code`; with `dir`, for every other host that can be woken it must be "
        "given: `hold` or `work`",
        field="profile"),
    Key("command", command, Rules,
        "The program and its arguments, without a shell; the notice comes on standard input.",
        '["/usr/bin/notify-send", "agentbus"]', "must be given"),
    Key("permission_mode", permission_mode, Rules,
        "The host's permission mode, with `wake = \"work\"`. Claude Code: any but "
        "`bypassPermissions`; Cursor: `force`, any other holds its wakes.",
        '"acceptEdits"', "Claude Code: `dontAsk`"),
    Key("allow", allow, Rules,
        "The host's allow rules, with `wake = \"work\"`.", '["Bash(git status)", "Edit"]', "none"),
    Key("env", variables, Rules,
        "Variables of the listener's environment that its process gets besides; see "
        "[what it inherits](waking.md#what-it-inherits).",
        '["JAVA_HOME"]', "none"),
    Key("instruction", instruction, Rules,
        "A line of yours for its model, told with each notice that starts it, as its user's: at "
        "most 500 characters.",
        '"Answer in German. Run no tests."', "none"),
    Key("resume", boolean, Rules,
        'Go on with its last conversation, with `wake = "work"`, unless a live process has it.',
        "true"),
    Key("chat", chat, Rules,
        "The chat that is continued, as `cursor-agent ls` shows it.",
        '"8f1c2d"', "none"),
    Key("gateway_url", gateway_url, Rules,
        "The gateway's address; off this machine it must be `https`.",
        '"http://127.0.0.1:18790"', field="url"),
    Key("token_file", absolute, Rules,
        "The file (0600) with `hooks.token` of openclaw.json.",
        '"~/.config/agentbus/openclaw-hooks.token"',
        "none; `agent add` fills in the one that `install openclaw` wrote"),
    # When, by whom and how often.
    Key("quiet_hours", hours, Rules,
        "When nothing wakes it, in this machine's time; `\"\"` means never, also where "
        "`[wake]` has some.",
        '"22:00-07:00"', "none", in_wake=True),
    Key("wake_on", wake_on, Rules,
        "The priorities of tasks that wake it, from `high` on; the limits below hold for all of "
        "them together.",
        '["high", "normal"]', '`["high"]`', in_wake=True),
    Key("wake_from", senders, Rules,
        'Senders that may wake it besides your own agents on this machine; `"*"` is everybody '
        "on the bus.",
        '["planner"]', "none", in_wake=True),
    Key("on_stop", one_of("end", "leave"), Rules,
        "What becomes of a process that it has started when the listener is stopped: `end` "
        "ends it, `leave` leaves it running.",
        '"leave"', in_wake=True),
    # More than the upper end of a range is a typing error: a wake takes seconds and costs money.
    Key("per_sender_hour", Within(0, 1_000), Limits,
        "How often one sender may wake it in an hour.",
        "3", unit="wakes", in_wake=True),
    Key("per_hour", Within(0, 1_000), Limits,
        "How often it may be woken in an hour.",
        "6", unit="wakes", in_wake=True),
    Key("per_day", Within(0, 10_000), Limits,
        "How often it may be woken in 24 hours.",
        "20", unit="wakes", in_wake=True),
    Key("result_notices_per_hour", Within(0, 10_000), Limits,
        "How often a live session is told of results in an hour.",
        "30", unit="notices", in_wake=True),
    Key("time_limit_s", Within(1, 86_400), Limits,
        "After how long a started process is ended.",
        "600", unit="seconds", in_wake=True),
    Key("max_turns", Within(1, 1_000), Limits,
        "Turns of a model in one wake, where the host can limit them.",
        "10", unit="turns", in_wake=True),
    Key("max_usd", Within(0, 1_000, float), Limits,
        "What one wake may cost, where the host can limit it.",
        "0.5", unit="US dollars", in_wake=True),
    Key("usd_per_day", Within(0, 10_000, float), Limits,
        "What the wakes of 24 hours may cost, `max_usd` for each that was ended before its host "
        "could report it, where that can limit it; what comes after is held.",
        "5.0", unit="US dollars", in_wake=True),
)  # fmt: skip
_IN_AGENT: Final = readers(KEYS)
_IN_WAKE: Final = readers(key for key in KEYS if key.in_wake)


def read_defaults(table: object, where: str) -> dict[str, Any]:
    """Return what the [wake] table says for every agent that does not say otherwise, for `read`.

    Raises:
        BadSetup: a key that does not exist, or a value that makes no sense.
    """
    return checked(table, _IN_WAKE, where)


def read(agent: str, table: object, defaults: Mapping[str, Any], where: str) -> Rules | None:
    """Return the rules of an [agents.ID] table; None if it has no `dir`, so nothing starts it.

    `defaults` is what `read_defaults` returned, and `where` names the file and the agent's table.

    Raises:
        BadSetup: a key that does not exist or has no effect here, one that is missing, or a value
            that makes no sense.
    """
    own = checked(table, _IN_AGENT, where)
    if "dir" not in own:
        return None
    host = own.get("host", "")
    if host not in hosts.WOKEN:
        raise BadSetup(
            f"{where}: host is none that can be woken.",
            hint=f"Set host to one of {', '.join(hosts.WOKEN)}, or take dir out.",
        )
    profile = _profile(host, own.get("wake"), where)
    idle = hosts.named(host).idle(own, profile)
    own = {key: value for key, value in own.items() if key not in idle}
    _check_host_keys(host, profile, own, where)
    _check_folder(host, own["dir"], where)
    values = {**defaults, **own}
    fields = {**_fields(Rules, values), "agent": agent, "host": host, "profile": profile}
    return Rules(**fields, idle=idle, limits=Limits(**_fields(Limits, values)))


def profile_of(host: str, given: Profile | None) -> Profile | None:
    """Return an agent's wake profile: the one given, or the default of its host.

    None where only the user can choose, between `hold` and `work`: agentbus cannot limit what a
    session of such a host does, so there is no `answer`.
    """
    if hosts.named(host).limited:
        return given or "answer"
    return given if given in {"hold", "work"} else None


def least_profile(host: str) -> Profile:
    """Return which wake profile lets a task start a session of this host and allows it least."""
    return profile_of(host, None) or "work"


def _profile(host: str, given: Profile | None, where: str) -> Profile:
    if profile := profile_of(host, given):
        return profile
    wrong = f'wake = "{given}" does not exist here' if given else "wake is missing"
    raise BadSetup(
        f"{where}: {wrong}.",
        hint=f"With host {host} its own rules hold in a woken session, and agentbus cannot "
        'limit them: set wake = "work" to allow that, or wake = "hold".',
    )


def _check_host_keys(host: str, profile: Profile, given: Mapping[str, Any], where: str) -> None:
    """See that no key is set that would have no effect, and that none is missing.

    A mode that the host cannot be started in is left to `policy`, which holds the agent's wakes.
    """
    for key in given:
        meant = hosts.with_key(key)
        if host not in meant:
            raise BadSetup(
                f"{where}: {key} has no effect with host {host}.",
                hint=f"Take it out; it is for {' and '.join(meant)}.",
            )
    for key in hosts.WITH_WORK:
        if given.get(key) and profile != "work":
            raise BadSetup(
                f'{where}: {key} is set, but wake is "{profile}".',
                hint='Set wake = "work", or take it out: with any other it has no effect.',
            )
    if "command" in hosts.named(host).keys and "command" not in given:
        raise BadSetup(
            f"{where}: command is missing.",
            hint='Name the program: command = ["/usr/bin/python3", "wake.py"]',
        )


def _check_folder(host: str, folder: Path, where: str) -> None:
    """See that an agent which may read its folder cannot read its user's keys there.

    By its name alone, as every command and the listener do so, whatever has become of its file
    system; where its links lead is seen by `folder_lacks`, before something starts there.
    """
    if hosts.named(host).has_folder and _holds_home(Path(os.path.normpath(folder))):
        raise BadSetup(
            f"{where}: dir is the home folder, or holds it.",
            hint="Name a project's folder: a woken agent may read all of it, and answers peers.",
        )


def _holds_home(folder: Path) -> bool:
    """Tell whether a folder is this user's home, or above it."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # which does not mind that there is none
    # By links, one may lead to the other, or both to a third.
    above = {home, *home.parents}
    above |= {Path(os.path.realpath(each)) for each in above}
    return folder in above | {parent for each in above for parent in each.parents}


def _fields(into: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the values that a data class takes, by its fields."""
    return {
        key.field or key.name: values[key.name]
        for key in KEYS
        if key.into is into and key.name in values
    }
