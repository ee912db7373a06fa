# SPDX-License-Identifier: Apache-2.0
"""The rows with a bar as one picture, an SVG that needs nothing besides itself.

    >>> Path("bench.svg").write_text(drawn(machine, rows))

A grey stripe is what a row is compared with, always of the same length; the coloured one in it is
ours, and the tick is the bar that it has to keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from measure import Row
from showing import figure

_WIDTH = 940
_LEFT = 418
_RIGHT = 118
_TOP = 118
_STEP = 42
_FOOT = 46
#: The longest ratio that is drawn to scale.
_LONGEST = 2.2
_SPAN = _WIDTH - _LEFT - _RIGHT
_FONT = "font-family: -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# Written out twice: not every viewer knows variables.
_LIGHT = """
.paper { fill: #ffffff; stroke: #d8dee4; } .line { stroke: #eceff3; } .theirs { fill: #d5dbe2; }
.ours { fill: #2f6fdb; } .over { fill: #d9822b; } .tick { stroke: #1f2328; stroke-width: 2; }
.title, .what, .ratio { fill: #1f2328; } .soft { fill: #656d76; font-size: 11px; }
"""
_DARK = """
.paper { fill: #0d1117; stroke: #30363d; } .line { stroke: #1c2229; } .theirs { fill: #333b45; }
.ours { fill: #5c9dff; } .over { fill: #f0a04b; } .tick { stroke: #e6edf3; }
.title, .what, .ratio { fill: #e6edf3; } .soft { fill: #8d96a0; }
"""
_STYLE = f"""
text {{ {_FONT}; }} .title {{ font-size: 20px; font-weight: 600; }} .what {{ font-size: 13px; }}
.ratio {{ font-size: 14px; font-weight: 600; }}
{_LIGHT}
@media (prefers-color-scheme: dark) {{ {_DARK} }}
"""


def drawn(machine: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the picture."""
    shown = [one for one in rows if one.ratio is not None and one.bar.endswith("x")]
    height = _TOP + _STEP * len(shown) + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        "<title>agentbus: benchmarks</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="10"/>',
        _text(28, 40, "title", "agentbus beside what it is compared with"),
        _text(28, 61, "soft", "Medians of one run; shorter is better, but for sends per second."),
        *_legend(28, 84),
        *(_scale(number, height) for number in (0, 0.5, 1, 1.5, 2)),
    ]
    for number, one in enumerate(shown):
        parts += _bar(_TOP + _STEP * number, one)
    names = ("cpu", "cores", "python", "server", "at")
    place = ", ".join(str(machine[name]) for name in names if name in machine)
    parts += [_text(28, height - 17, "soft", place), "</svg>"]
    return "\n".join(parts) + "\n"


def _legend(x: float, y: float) -> list[str]:
    parts = []
    for kind, words in (
        ("ours", "ours"),
        ("over", "ours, bar missed"),
        ("theirs", "compared with = 1"),
    ):
        parts.append(f'<rect class="{kind}" x="{x}" y="{y - 9}" width="16" height="10" rx="2"/>')
        parts.append(_text(x + 22, y, "soft", words))
        x += 44 + 5.6 * len(words)
    parts.append(f'<line class="tick" x1="{x + 4}" x2="{x + 4}" y1="{y - 12}" y2="{y + 3}"/>')
    parts.append(_text(x + 14, y, "soft", "bar"))
    return parts


def _scale(ratio: float, height: int) -> str:
    x = _at(ratio)
    line = f'<line class="line" x1="{x}" x2="{x}" y1="{_TOP - 10}" y2="{height - _FOOT}"/>'
    return line + _text(x, _TOP - 16, "soft", f"{ratio:g}x", "middle")


def _bar(y: float, one: Row) -> list[str]:
    ratio = one.ratio or 0.0
    limit = float(one.bar.strip("<>= x"))
    x = _at(limit)
    kind = "over" if one.met is False else "ours"
    compared = one.floor_is.partition(": its ")[0]
    end = _at(min(ratio, _LONGEST))
    parts = [
        _text(28, y + 14, "what", one.what),
        _text(
            28,
            y + 29,
            "soft",
            f"{figure(one.ours, one.unit)}, against {figure(one.floor, one.unit)}: {compared}",
        ),
        f'<rect class="theirs" x="{_LEFT}" y="{y + 5}" width="{_at(1) - _LEFT}" height="24" rx="3"/>',
        f'<rect class="{kind}" x="{_LEFT}" y="{y + 10}" width="{max(end - _LEFT, 2):.1f}" height="14" rx="3"/>',
        f'<line class="tick" x1="{x}" x2="{x}" y1="{y + 3}" y2="{y + 31}"/>',
    ]
    if ratio > _LONGEST:
        tip = f"{end + 3:.1f},{y + 10} {end + 11:.1f},{y + 17} {end + 3:.1f},{y + 24}"
        parts.append(f'<polygon class="{kind}" points="{tip}"/>')
    parts.append(_text(_WIDTH - 28, y + 15, "ratio", f"{ratio:.2f}x", "end"))
    words = one.bar.replace("<=", "at most").replace(">=", "at least")
    parts.append(_text(_WIDTH - 28, y + 29, "soft", words, "end"))
    return parts


def _at(ratio: float) -> float:
    return round(_LEFT + _SPAN * ratio / _LONGEST, 1)


def _text(x: float, y: float, kind: str, words: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'
