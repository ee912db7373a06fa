# SPDX-License-Identifier: Apache-2.0
"""Write what is generated of README.md and docs/cli.md anew: `python tests/shape/renew_readme.py`.

`test_readme.py` fails while they differ from what this would write.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]
os.environ["COLUMNS"] = "96"  # argparse wraps its help to the terminal

from promises import PROMISES  # noqa: E402  # found through the path set above

from mcp_agentbus.cli.parser import parser  # noqa: E402
from mcp_agentbus.handoff import claims, inbox, send  # noqa: E402
from mcp_agentbus.store import streams, task  # noqa: E402
from mcp_agentbus.tools.catalog import TOOLS  # noqa: E402

ROOT = Path(__file__).parents[2]
README, CLI = ROOT / "README.md", ROOT / "docs" / "cli.md"


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


def _commands() -> str:
    return "\n".join(["```text", parser().format_help().strip(), "```"])


def every_command() -> str:
    """Return the text of docs/cli.md."""
    [commands] = [
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    ]
    rows = ["# Command line", "", "What `agentbus COMMAND --help` prints, for every command."]
    for name, command in commands.choices.items():
        rows += ["", f"## agentbus {name}", "", "```text", command.format_help().strip(), "```"]
    return "\n".join([*rows, ""])


def _limits() -> str:
    days = 24 * 3600
    rows = [
        ("subject of a task", f"{task.SUBJECT_MAX_CHARS} characters, one line"),
        ("body of a task", f"{task.BODY_MAX_BYTES // 1024} KiB of UTF-8"),
        ("body of a result", f"{task.RESULT_MAX_BYTES // 1024} KiB of UTF-8"),
        ("summary of a result", f"{task.SUMMARY_MAX_CHARS:,} characters"),
        ("artifacts", f"{task.ARTIFACTS_MAX} references of {task.ARTIFACT_MAX_CHARS:,} characters"),
        ("addressees of one call", f"{send.ADDRESSEES_MAX}, or `all`"),
        ("deadline of a task", f"at most {task.EXPIRES_MAX_S // days} days, which is the default"),
        ("results are kept", "30 days"),
        ("waiting tasks", f"{streams.INBOX_MAX_PER_SENDER:,} per addressee, priority and sender"),
        ("tasks in one answer", f"{inbox.LIMIT_MAX}"),
        ("one wait in `watch_inbox`", f"{inbox.WATCH_MAX_S:,} s; the default is 45 s"),
        ("attempts before a task is parked", f"{task.ATTEMPTS_MAX}"),
        ("hand-offs of one piece of work", f"{task.HOPS_MAX}"),
        ("a claim without any call of its session", f"{task.CLAIM_MAX_S // 3600} hours"),
        ("offers of a task that nobody works on", f"{claims.OFFERS_MAX}"),
    ]
    return "\n".join(["| what | limit |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def _promises() -> str:
    return "\n".join(f"- {sentence}" for _, sentence in sorted(PROMISES.items()))


PARTS = {"tools": _tools, "commands": _commands, "limits": _limits, "promises": _promises}


def renewed(text: str) -> str:
    """Return README's text with its generated parts as they should be."""
    for name, make in PARTS.items():
        pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda found: found[1] + make() + "\n" + found[2], text)  # noqa: B023
        if count != 1:
            raise SystemExit(f"README.md has {count} parts named {name!r}")
    return text


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
    CLI.write_text(every_command())
