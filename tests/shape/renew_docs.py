# SPDX-License-Identifier: Apache-2.0
"""Write anew what is generated of README.md and docs/: `python tests/shape/renew_docs.py`.

    <!-- generated: limits -->
    ...
    <!-- end -->

stands on one page and is filled by the part of that name; the page is otherwise written by hand.
docs/cli.md and docs/demo.svg are generated as a whole. `test_docs.py` fails while any of it differs
from what this would write.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final
from unittest.mock import patch

sys.path[:0] = [str(Path(__file__).parents[1])]

import configuration  # noqa: E402  # found through the path set above
import demo_picture  # noqa: E402
from promises import PROMISES  # noqa: E402
from repairs import REPAIRS  # noqa: E402
from seed_failures import FAILURES  # noqa: E402
from seeds import FEATURES, SYSTEMS, Row  # noqa: E402
from test_shape import ROOMS  # noqa: E402

from mcp_agentbus.cli.parser import parser  # noqa: E402
from mcp_agentbus.core import ids, notices  # noqa: E402
from mcp_agentbus.doctor import listener  # noqa: E402
from mcp_agentbus.gate import quota, speech  # noqa: E402
from mcp_agentbus.handoff import inbox, send  # noqa: E402
from mcp_agentbus.handoff.dispatch.rate import SENT_A_MINUTE  # noqa: E402
from mcp_agentbus.handoff.intake import lanes  # noqa: E402
from mcp_agentbus.patterns import events  # noqa: E402
from mcp_agentbus.relay.messages import DEPTH_MAX, LINE_MAX_BYTES, VALUES_MAX  # noqa: E402
from mcp_agentbus.store import streams, task  # noqa: E402
from mcp_agentbus.store.subjects import SCHEDULE, TASKS  # noqa: E402
from mcp_agentbus.tools.catalog import TOOLS  # noqa: E402
from mcp_agentbus.work import brief, worker_file  # noqa: E402

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
CLI: Final = ROOT / "docs" / "cli.md"
_DAY_S: Final = 24 * 3600
# What a person can do where `doctor` has no command for it, since nothing is wrong.
_ACTS: Final = {
    "not_accepted": "`--accept-from SENDER` of `agentbus agent add`, or nothing: whoever reads it "
    "ends it as rejected",
    "not_allowed": "`--wake-from SENDER` of `agentbus agent add`",
    "limit_0": "take it out of `[wake]` or `[agents.ID]` in config.toml",
    "mode": "take `permission_mode` out of `[agents.ID]` in config.toml, or set one that its host has",
    "profile": "`agentbus agent add ID --replace --wake answer`; `work` where its host knows no "
    "`answer`",
    "deaf_session": "type anything in that session",
    "ledger": "`agentbus listen --status` names the file",
}


def pages() -> list[Path]:
    """Return the pages that a user reads."""
    return [README, *sorted((ROOT / "docs").glob("*.md"))]


def _tools() -> str:
    rows = ["| tool | what it does | input |", "|---|---|---|"]
    for tool in TOOLS.values():
        required = set(tool.schema.get("required", ()))
        given = ", ".join(
            f"**`{name}`**" if name in required else f"`{name}`"
            for name in tool.schema["properties"]
        )
        rows.append(f"| `{tool.name}` | {tool.description} | {given} |")
    return "\n".join(rows)


def every_command() -> str:
    """Return the text of docs/cli.md."""
    # argparse wraps its help to the terminal; who imports this keeps their own.
    with patch.dict(os.environ, COLUMNS="96"):
        return _every_command()


def _every_command() -> str:
    whole = parser()
    [commands] = [
        action for action in whole._actions if isinstance(action, argparse._SubParsersAction)
    ]
    rows = [
        "# Command line",
        "",
        "What `agentbus --help` and `agentbus COMMAND --help` print. In scripts, give `--json`:",
        "it prints data instead of text. Times in it are in UTC to the millisecond, as in",
        "`2026-11-21T10:00:00.123Z`.",
    ]
    for name, command in {"": whole, **commands.choices}.items():
        title = f"## agentbus {name}".rstrip()
        rows += ["", title, "", "```text", command.format_help().strip(), "```"]
        rows += _actions(name, command)
    return "\n".join([*rows, ""])


def _actions(name: str, command: argparse.ArgumentParser) -> list[str]:
    """Return the help of a command's own commands, such as `agent add`."""
    rows: list[str] = []
    for action in command._actions if name else ():
        if isinstance(action, argparse._SubParsersAction):
            for below, one in action.choices.items():
                title = f"### agentbus {name} {below}"
                rows += ["", title, "", "```text", one.format_help().strip(), "```"]
    return rows


def _limits() -> str:
    rows = [
        ("subject of a task", f"{task.SUBJECT_MAX_CHARS} characters, one line"),
        ("body of a task", f"{task.BODY_MAX_BYTES // 1024} KiB of UTF-8"),
        ("body of a result", f"{task.RESULT_MAX_BYTES // 1024} KiB of UTF-8"),
        ("summary of a result", f"{task.SUMMARY_MAX_CHARS:,} characters"),
        ("artifacts", f"{task.ARTIFACTS_MAX} references of {task.ARTIFACT_MAX_CHARS:,} characters"),
        ("a line of MCP", f"{LINE_MAX_BYTES >> 20} MiB, {VALUES_MAX:,} values, {DEPTH_MAX} deep"),
        ("addressees of one call", f"{send.ADDRESSEES_MAX}, or `all`"),
        ("description of an agent", f"{ids.DESCRIPTION_MAX_CHARS} characters"),
        (
            "deadline of a task",
            f"at most {task.EXPIRES_MAX_S // _DAY_S} days after it is offered, the default",
        ),
        ("results are kept", "30 days"),
        ("waiting tasks", f"{streams.INBOX_MAX_PER_SENDER:,} per addressee, priority and sender"),
        ("tasks that the MCP sessions of one agent send", f"{SENT_A_MINUTE} a minute"),
        ("tasks in one answer", f"{inbox.LIMIT_MAX}"),
        ("one wait in `watch_inbox`", f"{inbox.WATCH_MAX_S:,} s; the default is 45 s"),
        ("attempts before a task is parked", f"{task.ATTEMPTS_MAX}"),
        ("hand-offs of one piece of work", f"{task.HOPS_MAX}"),
        ("a claim without any call of its session", f"{task.CLAIM_MAX_S // 3600} hours"),
        ("offers of a task that nobody can claim", f"{lanes.OFFERS_MAX}"),
        ("body of an event", f"{task.BODY_MAX_BYTES // 1024} KiB of UTF-8"),
        ("topic of an event", f"{events.TOPIC_MAX_CHARS} characters"),
        ("events that wait for their reader", f"{events.WAITING_MAX:,}; later ones are missed"),
        ("agents of one account of a shared server", f"{speech.AGENTS_MAX:,}"),
        ("tasks that one account sends", f"{quota.TASKS_PER_MINUTE:,} a minute"),
        (
            "others' agents to which one account writes",
            f"{quota.REACHED_MAX} a minute, unless its owner says otherwise",
        ),
        ("what one account stores of each kind", f"{quota.BYTES_PER_MINUTE >> 20} MiB a minute"),
        ("tasks that one account stores", f"{quota.BYTES_PER_DAY[TASKS] >> 20} MiB a day"),
        ("of them for later", f"{quota.BYTES_PER_DAY[SCHEDULE] >> 20} MiB a day"),
        ("what one account has, where over half the room is taken", "a third of what is free"),
        ("consumers that its agents make", f"{quota.CONSUMERS_MAX:,} a day"),
        ("requests of one account", f"{quota.REQUESTS_PER_S:,} a second; more wait"),
    ]
    return "\n".join(["| what | limit |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def _promises() -> str:
    rows = [f"| {number} | {sentence} |" for number, sentence in sorted(PROMISES.items())]
    return "\n".join(["| | promise |", "|---:|---|", *rows])


def _repairs() -> str:
    rows = [f"| {row.seen} | {row.check} | {row.does} |" for row in REPAIRS.values()]
    table = ["| what you see | what doctor calls it | what `--fix` does |", "|---|---|---|"]
    return "\n".join([*table, *rows])


def _systems() -> str:
    return "\n".join(f"- **{kind}**: {name}" for kind, name in SYSTEMS.items())


def _rows(rows: dict[str, Row]) -> str:
    """Return the table of rows: each test is the sentence of its name, and leads to its file."""
    table = ["| | there | here | shown by |", "|---|---|---|---|"]
    for number, row in rows.items():
        tests = ", ".join(map(_sentence, row.tests))
        here = f"{row.here}. **Differs**: {row.differs}" if row.differs else row.here
        table.append(f"| {number} | {row.there} | {here} | {tests} |")
    return "\n".join(table)


def _sentence(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../tests/{file})"


def _holds() -> str:
    """Return the table of what holds a wake, and what a person can do about it."""
    rows = ["| why it is held | what to do |", "|---|---|"]
    for reason, why in notices.WHY.items():
        do = (
            listener._HELD.get(reason, "").format(agent="ID", profile="answer")
            or "nothing: it passes by itself"
        )
        do = do.replace("See ", "see ")
        rows.append(f"| {why} | {_ACTS.get(reason) or re.sub('agentbus agent [^,]*', _code, do)} |")
    return "\n".join(rows)


def _code(found: re.Match[str]) -> str:
    return f"`{found[0]}`"


def _rooms() -> str:
    """Return the table of rooms: each one's job, by its own words, and what it may import."""
    rows = ["| room | its job | may import |", "|---|---|---|"]
    for room, may in ROOMS.items():
        folder = ROOT / "installers" if room == "installers" else ROOT / "mcp_agentbus" / room
        job = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        link = f"[{room}](../{folder.relative_to(ROOT)}/)"
        now, bar, late = may.partition("|")
        allowed = ", ".join(now.split()) or "nothing"
        if bar:
            allowed += f"; inside functions {', '.join(late.split())}"
        rows.append(f"| {link} | {' '.join(job.partition(chr(10) * 2)[0].split())} | {allowed} |")
    return "\n".join(rows)


def _worker_keys() -> str:
    """Return the tables of a worker's file."""
    tables = (
        f"`[{name}]`\n\n{configuration.table({key.name: key for key in keys})}"
        for name, keys in worker_file.KEYS.items()
    )
    return "\n\n".join(tables)


def _worker_rules() -> str:
    """Return what a worker's program is told of each task, as a quotation."""
    return "\n".join(f"> {line}".rstrip() for line in brief.RULES.splitlines())


#: What fills each part, by its name.
PARTS: Final[dict[str, Callable[[], str]]] = {
    "tools": _tools,
    "limits": _limits,
    "promises": _promises,
    "earlier systems": _systems,
    "repairs": _repairs,
    "features": lambda: _rows(FEATURES),
    "failures": lambda: _rows(FAILURES),
    "holds": _holds,
    "rooms": _rooms,
    "server keys": lambda: configuration.table(configuration.SERVER),
    "archive keys": lambda: configuration.table(configuration.ARCHIVE),
    "human keys": lambda: configuration.table(configuration.HUMAN),
    "agent keys": lambda: configuration.table(configuration.AGENT, configuration.WAKE),
    "wake keys": lambda: configuration.table(configuration.WAKE),
    "folder keys": lambda: configuration.table(configuration.FOLDER),
    "worker keys": _worker_keys,
    "worker rules": _worker_rules,
    "variables": configuration.variables,
    "hosts' variables": configuration.hosts_variables,
}
_PART: Final = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def parts_of(text: str) -> list[str]:
    """Return the names of the generated parts of a page."""
    return [found[2] for found in _PART.finditer(text)]


def renewed(text: str) -> str:
    """Return a page with its generated parts as they should be."""
    return _PART.sub(lambda found: found[1] + PARTS[found[2]]() + "\n" + found[3], text)


if __name__ == "__main__":
    CLI.write_text(every_command())
    for page in pages():
        page.write_text(renewed(page.read_text()))
    demo_picture.renew()
