# SPDX-License-Identifier: Apache-2.0
"""What every Python of a chaos run begins with: a wall clock that the run sets, and no other package.

It is copied into the folder from which a run's processes have the package. Beside it lies `clocks`,
a line for each whose clock is wrong: a process id, or what `SOAK_CLOCK` says, and seconds. All
processes load this, so it loads nothing that Python has not loaded by itself. `time.localtime` and
the like without an argument, TLS and other programs go by the machine's clock.
"""

# All that begins would load `pathlib` for this.
# ruff: noqa: PTH110, PTH116, PTH118, PTH120, PTH123
import os
import sys
import time

_HERE = os.path.dirname(__file__)
_CLOCKS = os.path.join(_HERE, "clocks")
_time, _time_ns = time.time, time.time_ns


class _Clocks:
    """By how many seconds each clock is ahead that is wrong, as the file said when it was read."""

    mark, ahead = None, {}

    @classmethod
    def mine(cls):
        """Return how far the clock of this process is ahead; less than 0 if it is behind."""
        try:
            about = os.stat(_CLOCKS)
            if (about.st_ino, about.st_mtime_ns) != cls.mark:
                with open(_CLOCKS) as file:
                    cls.ahead = {name: float(by) for name, by in map(str.split, file)}
                cls.mark = about.st_ino, about.st_mtime_ns
        except OSError:
            return 0.0
        own, named = cls.ahead.get(str(os.getpid())), os.environ.get("SOAK_CLOCK")
        return own or cls.ahead.get(named, 0.0)


class _Loaded:
    """Finds `datetime`, whose classes are C's, and has it take this clock once it is loaded."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "datetime":
            return None
        sys.meta_path.remove(cls)
        from importlib.util import find_spec

        spec = find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            _have_clock(module)

        spec.loader.exec_module = exec_module
        return spec


def _have_clock(module):
    real, timedelta = module.datetime, module.timedelta

    class _Both(type):
        # What C makes, as in `sqlite3` or pydantic, is of the class that is wrapped here.
        def __instancecheck__(cls, thing):
            return isinstance(thing, real) if cls is Clock else super().__instancecheck__(thing)

    class Clock(real, metaclass=_Both):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + timedelta(seconds=_Clocks.mine())

        @classmethod
        def utcnow(cls):
            return super().utcnow() + timedelta(seconds=_Clocks.mine())

    Clock.__name__ = Clock.__qualname__ = "datetime"
    Clock.__module__ = "datetime"
    module.datetime = Clock


def _is_ours(entry):
    return entry == _HERE or not os.path.exists(os.path.join(entry, "pyproject.toml"))


# While the package is replaced it is missing, and no working copy may stand in for it.
sys.path[:] = filter(_is_ours, sys.path)
sys.meta_path[:] = [
    finder
    for finder in sys.meta_path
    if not getattr(finder, "__module__", "").startswith("__editable__")
]
time.time = lambda: _time() + _Clocks.mine()
time.time_ns = lambda: _time_ns() + int(_Clocks.mine() * 1e9)
if "datetime" in sys.modules:
    _have_clock(sys.modules["datetime"])
else:
    sys.meta_path.insert(0, _Loaded)
