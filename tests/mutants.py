# SPDX-License-Identifier: Apache-2.0
"""Breaks the code one line at a time, and tells which breaks no test notices.

    $ python tests/mutants.py store --count 60 --quick
      mcp_agentbus/store/roster.py:261  it compares by `<=`
          return age < PRESENCE_S
    store: 60 of 1345 mutants tried, 59 noticed, 1 not (1.7 %), in 21 min, seed 1

Each is tried in a copy of the tree with an environment of its own: by tests that run the line in
their own process, which one run of all tests finds out, see `breaking`, and then, where these pass,
by all tests that claim its room; `--quick` leaves these out. It takes minutes to hours, so no other
test runs it. What changes nothing that anybody could see stands in `mutants_left.LEFT`, with its
reason.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path

from mutants_left import LEFT
from mutants_made import Mutant, mutants

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "mcp_agentbus"

#: What is broken, by room, and the tests that claim it: the next where all of these passed.
CLAIMED = {
    "handoff": ("handoff", ["parts/handoff", "parts/tools"], ["life", "faults", "hostile"]),
    "store": ("store", ["parts/store", "parts/shared"], ["life", "faults", "hostile"]),
    "bus": ("bus", ["parts/bus", "parts/shared"], ["life", "faults", "hostile"]),
    "wakes": ("wakes", ["parts/wakes", "parts/listener"], ["life", "faults", "hostile"]),
    "relay": ("relay", ["parts/relay"], ["protocol", "faults"]),
    "listener": ("listener", ["parts/listener"], ["life", "faults"]),
    "framing": ("core/framing.py", ["parts/core"], ["hostile"]),
    "editing": ("../installers/_parts", ["parts/installers"], ["life/test_setup.py"]),
}
# No test of ours takes longer.
_TEST_MAX_S = 120
# Nor with all the others of its step.
_STEP_MAX_S = 900
# Of the tests that run a line so many are tried first: those that run the least besides, and as many
# others, no two of a file before one of each other.
_CLOSEST = 40
_OTHERS = 40


class Lines:
    """Which tests run which lines, by what `covering` has noted in a folder."""

    def __init__(self, folder: Path) -> None:
        noted = folder / "failed"
        #: Whatever is broken, these tell nothing of it.
        self.failed = set(noted.read_text().splitlines()) if noted.exists() else set()
        #: By file, from the root of the tree: each test that runs some of it, with a bit a line.
        self._of: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        #: By test: how many lines it runs in all.
        self._run: Counter[str] = Counter()
        for path in folder.glob("lines.*"):
            # https://coverage.readthedocs.io/en/latest/dbschema.html
            with closing(sqlite3.connect(path)) as notes:
                for file, test, bits in notes.execute(
                    "SELECT path, context, numbits FROM line_bits JOIN file ON file.id = file_id"
                    " JOIN context ON context.id = context_id WHERE context <> ''"
                ):
                    if test in self.failed:
                        continue
                    self._of[file].append((test, bits))
                    self._run[test] += int.from_bytes(bits).bit_count()

    @property
    def tests(self) -> Iterable[str]:
        """Every test that runs some line of the package."""
        return self._run.keys()

    def tests_of(self, mutant: Mutant, source: str) -> list[str]:
        """Return tests that run a mutant's statement, those first that are about little else.

        What is run as its file is read, such as a default, is tried by those that run the function
        that has it, or else something of that file.
        """
        inside = [
            node
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.stmt) and node.lineno <= mutant.line <= node.end_lineno
        ]
        innermost = max(inside, key=lambda node: node.lineno)
        is_function = isinstance(innermost, ast.FunctionDef | ast.AsyncFunctionDef)
        end_line = (is_function and innermost.end_lineno) or mutant.end_line
        lines = range(innermost.lineno, end_line + 1)
        of_file = self._of[mutant.file]
        tests = {
            test
            for test, bits in of_file
            if any(line // 8 < len(bits) and bits[line // 8] >> line % 8 & 1 for line in lines)
        } or {test for test, _ in of_file}
        closest = sorted(tests, key=lambda test: (self._run[test], test))
        by_file: dict[str, list[str]] = defaultdict(list)
        for test in closest[_CLOSEST:]:
            by_file[test.partition("::")[0]].append(test)
        others = [test for each in zip_longest(*by_file.values()) for test in each if test]
        return closest[:_CLOSEST] + others[:_OTHERS]


class Copy:
    """A copy of the tree in which one file is broken at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.root = folder / "tree"
        leave = shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.egg-info", ".*_cache")
        shutil.copytree(ROOT, self.root, ignore=leave, symlinks=True)
        venv = folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        self._python = venv / "bin" / "python"
        install = [self._python, "-m", "pip", "install", "-q", "-e", ".[dev]"]
        subprocess.run([*install, "coverage"], cwd=self.root, check=True, stderr=subprocess.DEVNULL)
        home = folder / "home"
        home.mkdir()
        self._env = {**os.environ, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}

    def passes(self, tests: Sequence[str], workers: int, noting: Path | None = None) -> bool:
        """Tell whether all of some tests pass; one that hangs does not.

        What lines each of them runs is written into the folder `noting`.
        """
        argv = [
            *(self._python, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"-n{workers}", f"--timeout={_TEST_MAX_S}", *tests),
        ]
        env = self._env
        if noting:
            argv += ["-p", "covering"]
            env = env | {"COVERING": str(noting / "lines"), "PYTHONPATH": "tests/support"}
        else:
            argv += ["-x"]
        with subprocess.Popen(
            argv, cwd=self.root, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as run:  # fmt: skip
            try:
                return run.wait(None if noting else _STEP_MAX_S) == 0
            except subprocess.TimeoutExpired:
                return False
            finally:
                if run.poll() is None:
                    os.killpg(run.pid, signal.SIGKILL)

    def tried(self, mutants: Sequence[Mutant], noted: Path) -> Iterator[tuple[Mutant, bool]]:
        """Try mutants by the tests that run their lines; yield each with whether one has failed."""
        jobs = self.root.parent / "jobs.json"
        told = {"lines": str(noted), "mutants": [asdict(mutant) for mutant in mutants]}
        jobs.write_text(json.dumps(told))
        files = sorted({test.partition("::")[0] for test in Lines(noted).tests})
        tests = [file for file in files if (self.root / file).exists()]
        argv = [
            *(self._python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "breaking"),
            *("-n0", f"--timeout={_TEST_MAX_S}", *tests),
        ]
        env = self._env | {"PYTHONPATH": "tests:tests/support", "BREAKING": str(jobs)}
        with subprocess.Popen(
            argv, cwd=self.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        ) as run:  # fmt: skip
            done = 0
            for line in run.stdout or ():
                if line.startswith("{"):
                    told = json.loads(line)
                    done += 1
                    yield Mutant(**told["mutant"]), told["noticed_by"] is not None
        if done < len(mutants):
            sys.exit(
                f"The run ended after {done} of {len(mutants)} mutants, with {run.returncode}."
            )

    def is_noticed(self, mutant: Mutant, steps: Sequence[Sequence[str]], workers: int) -> bool:
        """Tell whether a test of some steps fails where the code is so broken."""
        file = self.root / mutant.file
        source = file.read_text()
        file.write_text(mutant.of(source))
        try:
            return not all(self.passes(tests, workers) for tests in steps)
        finally:
            file.write_text(source)


def of_room(room: str) -> list[Mutant]:
    """Return every break of a room's files but those that are explained."""
    where = (ROOT / PACKAGE / CLAIMED[room][0]).resolve()
    files = [where] if where.is_file() else sorted(where.rglob("*.py"))
    every: list[Mutant] = []
    for path in files:
        source = path.read_text()
        file = str(path.relative_to(ROOT))
        every += [each for each in mutants(file, source) if each.key(source) not in LEFT]
    return every


def claiming(room: str) -> list[list[str]]:
    """Return the tests that claim a room, step by step, from the root of the tree."""
    return [[f"tests/{test}" for test in step] for step in CLAIMED[room][1:]]


def try_room(room: str, copies: Sequence[Copy], noted: Path, args: argparse.Namespace) -> int:
    """Try a room's mutants, tell of those that nobody notices, and return how many these are."""
    every = [each for each in of_room(room) if (args.only or "") in each.file]
    steps = [] if args.quick else claiming(room)
    count = min(args.count or len(every), len(every))
    chosen = random.Random(args.seed).sample(every, count)
    began = time.monotonic()
    done = itertools.count(1)

    def left(number: int) -> list[Mutant]:
        unnoticed = []
        for mutant, is_noticed in copies[number].tried(chosen[number :: len(copies)], noted):
            print(f"{next(done)} of {count}", end="\r", file=sys.stderr, flush=True)
            if not is_noticed:
                unnoticed.append(mutant)
                if not steps:
                    print(_told(mutant), flush=True)
        return unnoticed

    with ThreadPoolExecutor(len(copies)) as threads:
        unnoticed = [mutant for each in threads.map(left, range(len(copies))) for mutant in each]
    missed = [each for each in unnoticed if not copies[0].is_noticed(each, steps, args.workers)]
    for mutant in missed if steps else ():
        print(_told(mutant), flush=True)
    took = (time.monotonic() - began) / 60
    print(
        f"{room}: {count} of {len(every)} mutants tried, {count - len(missed)} noticed, "
        f"{len(missed)} not ({100 * len(missed) / max(1, count):.1f} %), in {took:.0f} min, "
        f"seed {args.seed}",
        flush=True,
    )
    return len(missed)


def _told(mutant: Mutant) -> str:
    line = (ROOT / mutant.file).read_text().splitlines()[mutant.line - 1].strip()
    return f"  {mutant.file}:{mutant.line}  {mutant.what}\n      {line}"


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("room", nargs="*", choices=[*CLAIMED, []], help="default: all")
    parser.add_argument("--only", metavar="PART", help="of files with this in their path")
    parser.add_argument("--count", type=int, default=0, help="of each room so many (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="which these are")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="only by tests that run its line")
    parser.add_argument(
        "--lines", type=Path, help="a folder: note there which tests run which lines, or read it"
    )
    args = parser.parse_args()
    rooms = args.room or list(CLAIMED)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        with ThreadPoolExecutor(args.workers) as threads:
            places = [Path(folder) / str(number) for number in range(args.workers)]
            copies = list(threads.map(Copy, places))
        noted = (args.lines or Path(folder) / "lines").resolve()
        if not noted.exists():
            noted.mkdir(mode=0o700)
            tests = sorted({test for room in rooms for step in claiming(room) for test in step})
            if not copies[0].passes(tests, args.workers, noted):
                failed = ", ".join(sorted(Lines(noted).failed)) or "the run of the tests"
                print(f"left out, as without any mutant it fails: {failed}", flush=True)
        missed = [try_room(room, copies, noted, args) for room in rooms]
    return 1 if any(missed) else 0


if __name__ == "__main__":
    sys.exit(main())
