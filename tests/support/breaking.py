# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest that breaks the code once for each mutant, and tells whether a test fails.

    $ BREAKING=jobs.json PYTHONPATH=tests/support python -m pytest -n0 -p breaking tests/parts

All tests are collected once, which takes as long as trying a mutant. For each mutant the run forks:
in the fork the functions that it changes get their broken code, and so does the file, for whatever
process a test starts. What is run as a file is read, such as a default, is tried by a run of its
own. `jobs.json` has a folder of `covering` and the mutants; for each a line of JSON is printed.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FunctionType

import guard
import pytest
from mutants import ROOT, Lines
from mutants_made import Mutant

# No test of ours takes longer, with all the others that are tried.
_MAX_S = 300
#: Who noticed what is run as a file is read.
ALONE = "a run of its own"
#: What a fork tells instead of the test that failed.
_PASSED = "passed"
_ELSEWHERE = "elsewhere"
_TOLD_MAX_BYTES = 4096  # a pipe takes so much at once
_OPTIMIZED = 1  # https://docs.python.org/3/library/inspect.html#inspect.CO_OPTIMIZED


def changes(file: Path, broken: str) -> list[tuple[CodeType, CodeType]] | None:
    """Return each function of a file whose code a break changes, with what it becomes.

    None where something else changes: what is run as the file is read, or as a class is made.
    """
    sources = (file.read_text(), broken)
    pair = [compile(each, str(file), "exec", dont_inherit=True) for each in sources]
    return _changes(*pair)


def _changes(code: CodeType, other: CodeType) -> list[tuple[CodeType, CodeType]] | None:
    if code.co_flags & _OPTIMIZED:
        return [] if code == other else [(code, other)]
    if _own(code) != _own(other):
        return None
    found = []
    for each, its in zip(_inside(code), _inside(other), strict=True):
        if (inner := _changes(each, its)) is None:
            return None
        found += inner
    return found


def _own(code: CodeType) -> tuple[object, ...]:
    consts = [repr(each) for each in code.co_consts if not isinstance(each, CodeType)]
    return code.co_code, code.co_names, consts, len(_inside(code))


def _inside(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _is_broken(file: Path, changed: list[tuple[CodeType, CodeType]]) -> bool:
    """Give the functions of this process their broken code; tell whether each of them is here."""
    gc.unfreeze()
    here = [
        each
        for each in gc.get_objects()
        if isinstance(each, FunctionType) and each.__code__.co_filename == str(file)
    ]
    for code, other in changed:
        functions = [each for each in here if each.__code__ == code]
        if not functions:
            return False
        for function in functions:
            function.__code__ = other
    return True


class Trial:
    """The tests of one run, by which one mutant after the other is tried."""

    def __init__(self, session: pytest.Session, lines: Lines, folder: Path) -> None:
        self._session = session
        self._lines = lines
        self._folder = folder
        self._items = {item.nodeid: item for item in session.items}
        #: How many mutants of a file each test has noticed: the next is likely noticed by it, too.
        self._noticed: Counter[tuple[str, str]] = Counter()
        #: Whether each test that has noticed one passes by itself where nothing is broken: one that
        #: needs another before it would notice all that is tried.
        self._passes: dict[str, bool] = {}
        self._written = int(time.time())

    def noticed_by(self, mutant: Mutant) -> str | None:
        """Break the code as a mutant says; return the test that failed, `None` where none did."""
        file = ROOT / mutant.file
        while (told := self._told(mutant, file)) in self._items:
            if told not in self._passes:
                self._passes[told] = self._forked(file, [], [told]) == _PASSED
            if self._passes[told]:
                break
        self._noticed[mutant.file, told] += 1
        return None if told == _PASSED else told

    def _told(self, mutant: Mutant, file: Path) -> str:
        """Return what the tests tell of a mutant, those that may be asked."""
        source = file.read_text()
        near = self._lines.tests_of(mutant, source)
        tests = [each for each in near if each in self._items and self._passes.get(each, True)]
        tests.sort(key=lambda test: -self._noticed[mutant.file, test])
        broken = mutant.of(source)
        changed = changes(file, broken)
        self._write(file, broken)
        try:
            told = self._forked(file, changed, tests) if changed else _ELSEWHERE
            if told == _ELSEWHERE:
                told = _ran_alone(tests)
        finally:
            self._write(file, source)
        return told

    def _write(self, file: Path, source: str) -> None:
        """Write a file, at a time that it has not had: by that and its size Python knows its code."""
        file.write_text(source)
        self._written += 1
        os.utime(file, (self._written, self._written))

    def _forked(
        self, file: Path, changed: list[tuple[CodeType, CodeType]], tests: list[str]
    ) -> str:
        """Have a fork of this process run tests with broken functions; return what it tells."""
        reads, writes = os.pipe()
        if not (pid := os.fork()):
            os.setsid()
            told = self._ran(tests) if _is_broken(file, changed) else _ELSEWHERE
            os.write(writes, told.encode())
            os._exit(0)
        os.close(writes)
        try:
            ended, _, _ = select.select([reads], [], [], _MAX_S)
            return os.read(reads, _TOLD_MAX_BYTES).decode() or "it dies" if ended else "it hangs"
        finally:
            os.close(reads)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            for left in guard.started_for(f"{self._folder}/"):
                with contextlib.suppress(OSError):
                    os.kill(left, signal.SIGKILL)

    def _ran(self, tests: list[str]) -> str:
        """Run tests until one fails; return that."""
        self._folder.mkdir(exist_ok=True)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self._folder)
        self._session.config._tmp_path_factory._given_basetemp = self._folder / "t"
        items = [self._items[test] for test in tests]
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._session.testsfailed:
                self._session._setupstate.teardown_exact(None)
                return item.nodeid
        return _PASSED


def _ran_alone(tests: list[str]) -> str:
    """Have another run try tests on the broken file."""
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *tests]
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    with subprocess.Popen(
        argv, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as run:  # fmt: skip
        try:
            return _PASSED if not run.wait(_MAX_S) else ALONE
        except subprocess.TimeoutExpired:
            return "it hangs"
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Try mutants instead of running the tests."""
    jobs = json.loads(Path(os.environ["BREAKING"]).read_text())
    trial = Trial(session, Lines(Path(jobs["lines"])), Path(tempfile.gettempdir()) / "b")
    captured = session.config.pluginmanager.getplugin("capturemanager")
    for fields in jobs["mutants"]:
        told = {"mutant": fields, "noticed_by": trial.noticed_by(Mutant(**fields))}
        with captured.global_and_fixture_disabled():
            print(f"\n{json.dumps(told)}", flush=True)
    return True
