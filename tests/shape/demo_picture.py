# SPDX-License-Identifier: Apache-2.0
"""docs/demo.svg: what `agentbus demo shop` prints, as a terminal shows it.

    >>> shown = run()
    >>> told(drawn(shown)) == told(PICTURE.read_text())
    True

The demo is really run, on a small folder made for it. Its first steps, those before the reading,
are drawn. Times, ids and the order in which two processes happen to speak differ from run to run,
so `told` leaves them out: the picture is fresh as long as each agent says the same things.
"""

from __future__ import annotations

import html
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

sys.path.append(str(Path(__file__).parents[1] / "support"))

import forking  # it lies there

PICTURE: Final = Path(__file__).parents[2] / "docs" / "demo.svg"
_TITLE: Final = "one agent hands another a task"
_WIDTH: Final = 98
_WITHIN_S: Final = 120
_SHOP: Final = {
    "README.md": "# Shop\n\nSells tea.\n",
    "checkout.py": "def total(prices):\n    return sum(prices)  # TODO: discounts\n",
    "tests/test_checkout.py": "def test_nothing_costs_nothing():\n    assert total([]) == 0\n",
}
_THEME: Final = TerminalTheme(
    (13, 17, 23),
    (230, 237, 243),
    [
        (72, 79, 88),
        (255, 123, 114),
        (126, 231, 135),
        (210, 168, 88),
        (121, 192, 255),
        (210, 168, 255),
        (118, 217, 230),
        (177, 186, 196),
    ],
)
# Rich's own form fetches a font from elsewhere; this one takes the reader's.
_FORM: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" class="rich-terminal" viewBox="0 0 {width} {height}" role="img">
<title>agentbus demo: planner sends coder a task and gets its result</title>
<style>
.{unique_id}-matrix {{
    font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
    font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 17px; font-family: system-ui, 'DejaVu Sans', sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def run() -> str:
    """Run the demo; return what a terminal is told, with no path of this machine in it."""
    with tempfile.TemporaryDirectory(prefix="agentbus-") as above:
        for name, text in _SHOP.items():
            file = Path(above, "shop", name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        ran = forking.ran(
            [sys.executable, "-m", "mcp_agentbus", "demo", "shop"],
            _WITHIN_S,
            cwd=above,
            env={"HOME": above, "PATH": os.environ["PATH"], "FORCE_COLOR": "1", "COLUMNS": "200"},
        )
    ran.check_returncode()
    return ran.stdout


def drawn(output: str) -> str:
    """Return the picture of what the demo printed, up to the reading."""
    steps = output.partition("\n\n")[0]
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bright_black"), ("agentbus demo shop", "bold")))
    for line in steps.splitlines():
        console.print(Text.from_ansi(line), soft_wrap=True)
    return console.export_svg(
        title=_TITLE, theme=_THEME, code_format=_FORM, unique_id="demo", font_aspect_ratio=0.6
    )


def told(svg: str) -> dict[str, list[str]]:
    """Return what each agent says in a picture, in its order, without times and ids."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(r'<text [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', svg):
        rows.setdefault(float(y), []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    found: dict[str, list[str]] = {}
    for y in sorted(rows):
        line = "".join(text for _, text in sorted(rows[y]))
        step = re.fullmatch(r"\s*\d+ ms  (\w+) +(.*?)\s*", line)
        who, what = step.groups() if step else ("", line.strip())
        what = re.sub(r"\b[0-9a-f]{32}\b", "ID", what)
        found.setdefault(who, []).append(re.sub(r"(127\.0\.0\.1:)\d+", r"\1PORT", what))
    return found


def renew() -> None:
    """Draw it anew, unless it says the same already: figures that differ are no news."""
    svg = drawn(run())
    if not PICTURE.exists() or told(svg) != told(PICTURE.read_text()):
        PICTURE.write_text(svg)
