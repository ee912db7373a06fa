# SPDX-License-Identifier: Apache-2.0
"""All bars of the design in one table, measured here and now. It checks nothing.

    $ python tests/bench/bench.py --peers
    Linux, AMD EPYC 7B13, 2 cores, Python 3.11.7, nats-server v2.15.1, 2026-11-20 18:03Z

    what                                  ours      floor    ratio  bar      met
    send_task through a stdio client...   4.1 ms    2.3 ms   1.78   <= 2x    yes   empty call
    ...

`--peers` adds swarmbus and agentbus, `--scale` what a thousand agents and a million records cost;
`--beside PYTHON` measures what is started often beside another installation, such as the last one.
Servers are private, on loopback, and end with the bench. What is measured is the wheel of this tree
in a venv of its own, as users have it, but for `--quick`: an editable installation loads a finder of
third parties' at each start of Python. With `--quick` no figure is one: most of what takes long to
start is forked from a process that has loaded it, see `forking`. The section of docs/benchmarks.md and its picture:

    $ python tests/bench/bench.py --peers --scale --json > run.json
    $ python tests/bench/bench.py --from run.json --svg docs/bench.svg --readme
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
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

# A developer's own bus must not be touched.
for _variable in [name for name in os.environ if name.startswith("AGENTBUS_")]:
    if _variable not in {"AGENTBUS_TEST_CACHE", "AGENTBUS_NATS_SERVER"}:
        del os.environ[_variable]

sys.path.append(str(Path(__file__).parents[1] / "support"))

import forking  # noqa: E402  # after the environment is clean
import rows_accounts  # noqa: E402
import rows_beside  # noqa: E402
import rows_bus  # noqa: E402
import rows_calls  # noqa: E402
import rows_disk  # noqa: E402
import rows_idle  # noqa: E402
import rows_processes  # noqa: E402
import rows_scale  # noqa: E402
import rows_sessions  # noqa: E402
import rows_wakes  # noqa: E402
from measure import QUICK, Row, Size  # noqa: E402
from picture import drawn  # noqa: E402
from showing import machine_line, readme, table  # noqa: E402

from mcp_agentbus.bus import embedded  # noqa: E402
from mcp_agentbus.config.settings import load_settings  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = _parser().parse_args()
    # So that a killed bench, too, ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if is_editable() and not (options.earlier or options.quick):
        return _as_installed(sys.argv[1:])
    if options.earlier:
        commands, head, rows = _earlier(options.earlier)
    else:
        commands, head = [_command(options)], machine()
        with forking.on(options.quick):
            rows = asyncio.run(_measure(_size(options), options))
    if options.svg:
        options.svg.write_text(drawn(head, rows))
    if options.json:
        found = [{**dataclasses.asdict(one), "ratio": one.ratio} for one in rows]
        print(json.dumps({"commands": commands, "machine": head, "rows": found}, indent=1))
    elif options.readme:
        print(readme(commands, head, rows))
    else:
        print(machine_line(head), end="\n\n")
        print(table(rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 15")
    parser.add_argument("--quick", action="store_true", help="few and small: only that it runs")
    parser.add_argument("--peers", action="store_true", help="install and measure other programs")
    parser.add_argument("--scale", action="store_true", help="large numbers; takes minutes")
    parser.add_argument(
        "--beside",
        metavar="PYTHON",
        help="only what is started often, beside the installation of this Python",
    )
    parser.add_argument(
        "--from",
        dest="earlier",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="measure nothing; show what earlier runs have printed with --json",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--readme", action="store_true", help="print the section of docs/benchmarks.md"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a picture of it, too")
    return parser


def is_editable() -> bool:
    """Tell whether this Python has the package as a link to a tree."""
    url = metadata.distribution("mcp-agentbus").read_text("direct_url.json")
    return bool(url and json.loads(url).get("dir_info", {}).get("editable"))


def _as_installed(argv: list[str]) -> int:
    """Do the same by a Python that has the wheel of this tree, made by a pip as users have it."""
    with tempfile.TemporaryDirectory(prefix="agentbus-bench-") as folder:
        python = f"{folder}/bin/python"
        pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([*pip, "--upgrade", "pip"], check=True, stdout=sys.stderr)
        subprocess.run([*pip, f"{ROOT}[dev]"], check=True, stdout=sys.stderr)
        with subprocess.Popen([python, __file__, *argv]) as bench:
            try:
                return bench.wait()
            except BaseException:
                bench.terminate()  # which ends its servers; killed, it would leave them
                raise


def _size(options: argparse.Namespace) -> Size:
    size = QUICK if options.quick else Size()
    return dataclasses.replace(size, rounds=options.rounds) if options.rounds else size


def _command(options: argparse.Namespace) -> str:
    """Return the command that measures the same again."""
    words = [f"--{name}" for name in ("quick", "peers", "scale") if getattr(options, name)]
    words += ["--rounds", str(options.rounds)] if options.rounds else []
    words += ["--beside", "PYTHON"] if options.beside else []
    return " ".join(["python tests/bench/bench.py", *words])


def _earlier(files: list[Path]) -> tuple[list[str], dict[str, Any], list[Row]]:
    runs = [json.loads(file.read_text()) for file in files]
    rows = [
        Row(**{name: value for name, value in one.items() if name != "ratio"})
        for run in runs
        for one in run["rows"]
    ]
    return [one for run in runs for one in run["commands"]], runs[0]["machine"], rows


async def _measure(size: Size, options: argparse.Namespace) -> list[Row]:
    peers = options.peers
    parts: dict[str, Callable[[], Awaitable[list[Row]]]] = {
        "tool calls": lambda: rows_calls.rows(size, with_peers=peers),
        "accounts": lambda: rows_accounts.rows(size),
        "bus": lambda: rows_bus.rows(size),
        "slow disk": lambda: rows_disk.rows(size),
        "processes": lambda: rows_processes.rows(size, with_peers=peers),
        "sessions": lambda: rows_sessions.rows(size),
        "wakes": lambda: rows_wakes.rows(size, with_peers=peers),
        "idle": lambda: rows_idle.rows(size),
    }
    if options.beside:
        parts = {"beside": lambda: rows_beside.rows(size, sys.executable, options.beside)}
    elif options.scale:
        parts["scale"] = lambda: rows_scale.rows(size)
    rows: list[Row] = []
    for name, measure in parts.items():
        began = time.monotonic()
        rows += await measure()
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return rows


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    program = embedded.binary(load_settings())
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


if __name__ == "__main__":
    sys.exit(main())
