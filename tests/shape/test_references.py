# SPDX-License-Identifier: Apache-2.0
"""What a docstring or a comment leads to by a name is there: a reader who follows it finds it."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXTS = {
    path: path.read_text()
    for folder in ("mcp_agentbus", "installers", "hooks")
    for path in (ROOT / folder).rglob("*.py")
}
REFERENCE = re.compile(r"`([A-Za-z_]\w*(?:\.\w+)+)`")
DEFINED = re.compile(
    r"(?:def|class) (\w+)|^ *(?:self\.)?(\w+) *[:=,]|^from \S+ import (\w+)$", re.MULTILINE
)
# The endings of files' names, and what has a dot besides: a value, or a word on the wire.
ENDINGS = {"conf", "json", "key", "py", "toml"}
NO_MODULES = {
    "build.done", "hooks.token", "me.agent", "other.settings", "payload.content", "task.result",
}  # fmt: skip


def test_a_name_that_a_docstring_or_a_comment_leads_to_is_there():
    names = {
        path: {name for each in DEFINED.findall(text) for name in each if name}
        for path, text in TEXTS.items()
    }
    everywhere = set[str]().union(*names.values())
    there = {(path.stem, name) for path in TEXTS for name in names[path]}
    there |= {(path.parent.name, path.stem) for path in TEXTS}
    there |= {(path.parent.parent.name, path.parent.name) for path in TEXTS}
    lost = {
        (str(path.relative_to(ROOT)), f"{owner}.{name}")
        for path, text in TEXTS.items()
        for reference in REFERENCE.findall(text)
        for owner, name in itertools.pairwise(reference.split("."))
        if owner not in sys.stdlib_module_names
        if not (owner.isupper() or name in ENDINGS or f"{owner}.{name}" in NO_MODULES)
        # What a class has may be inherited.
        if not (everywhere >= {owner, name} if owner[0].isupper() else (owner, name) in there)
    }

    assert lost == {("installers/__init__.py", "mcp_agentbus.installers")}  # where it is in a wheel
