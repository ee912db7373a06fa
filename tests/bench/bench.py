# SPDX-License-Identifier: Apache-2.0
"""All bars of the design in one table, measured here and now. It checks nothing.

    $ python tests/bench/bench.py --peers
    Linux, AMD EPYC 7B13, 2 cores, Python 3.11.7, nats-server v2.15.1, 2026-11-20 18:03Z

    what                                  ours      floor    ratio  bar      met
    send_task through a stdio client...   4.1 ms    2.3 ms   1.78   <= 2x    yes   empty call
    ...

`--peers` adds swarmbus and agentbus, `--million` a million records instead of 100,000. Servers are
private, on loopback, and end with the bench.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# A developer's own bus must not be touched.
for _variable in [name for name in os.environ if name.startswith("AGENTBUS_")]:
    if _variable not in {"AGENTBUS_TEST_CACHE", "AGENTBUS_NATS_SERVER"}:
        del os.environ[_variable]

import rows_bus  # noqa: E402  # after the environment is clean
import rows_calls  # noqa: E402
import rows_processes  # noqa: E402
import rows_wakes  # noqa: E402
from measure import QUICK, Row, Size  # noqa: E402

from mcp_agentbus import config, embedded  # noqa: E402


def main() -> int:
    options = _parser().parse_args()
    # So that a killed bench, too, ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    size = QUICK if options.quick else Size()
    if options.rounds:
        size = dataclasses.replace(size, rounds=options.rounds)
    if options.million:
        size = dataclasses.replace(size, many=1_000_000)
    head = machine()
    rows = asyncio.run(_measure(size, with_peers=options.peers))
    if options.json:
        table = [{**dataclasses.asdict(one), "ratio": one.ratio} for one in rows]
        print(json.dumps({"machine": head, "rows": table}, indent=1))
    else:
        print(", ".join(map(str, head.values())), end="\n\n")
        print(_table(rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 15")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="few and small: only that it runs")
    parser.add_argument("--peers", action="store_true", help="install and measure other programs")
    parser.add_argument("--million", action="store_true", help="1,000,000 records; takes minutes")
    return parser


async def _measure(size: Size, *, with_peers: bool) -> list[Row]:
    parts: dict[str, Callable[[], Awaitable[list[Row]]]] = {
        "tool calls": lambda: rows_calls.rows(size, with_peers=with_peers),
        "bus": lambda: rows_bus.rows(size),
        "processes": lambda: rows_processes.rows(size, with_peers=with_peers),
        "wakes": lambda: rows_wakes.rows(size, with_peers=with_peers),
    }
    rows: list[Row] = []
    for name, measure in parts.items():
        began = time.monotonic()
        rows += await measure()
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return rows


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    program = embedded.binary(config.load())
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return {
        "system": platform.system(),
        "cpu": _cpu(),
        "cores": f"{os.cpu_count()} cores",
        "load": f"load {os.getloadavg()[0]:.1f}",
        "python": f"Python {platform.python_version()}",
        "server": version.stdout.strip().replace(": ", " "),
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%MZ}",
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _table(rows: list[Row]) -> str:
    lines = [("what", "ours", "floor", "ratio", "bar", "met", "the floor is", "note")]
    lines += [
        (
            one.what,
            _figure(one.ours, one.unit),
            _figure(one.floor, one.unit),
            f"{one.ratio:.2f}" if one.ratio is not None else "-",
            one.bar or "-",
            {True: "yes", False: "NO", None: "-"}[one.met],
            one.floor_is,
            one.note,
        )
        for one in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    digits = 0 if value >= 1000 or not unit else 1 if value >= 100 else 2
    return f"{value:,.{digits}f} {unit}".strip()


if __name__ == "__main__":
    sys.exit(main())
