# SPDX-License-Identifier: Apache-2.0
"""What a test run takes over from whoever started it: as little as possible, and never a habit.

    >>> settle(os.environ)  # in a script's background job, under nohup, in an agent's own shell
    >>> os.environ.get("NO_COLOR"), signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    (None, False)

It changes this process alone, and through it what every process of a test inherits. What says how
programs are found and fetched stays: PATH, HOME, proxies, certificates, pip's and npm's settings.
"""

import os
import pwd
import signal
from collections.abc import MutableMapping

# A developer's own bus must never be touched by a test, nor say who the tests are; nor may the
# host be asked for, in whose shell they run, nor a service manager, nor a terminal's taste.
_NOT_OURS = (
    *("AGENTBUS_", "AI_AGENT", "ANTHROPIC_", "CLAUDE", "CODEX_", "COPILOT_", "CURSOR_"),
    *("GEMINI_", "OPENCLAW_", "OPENCODE", "QWEN_", "XDG_"),
    *("INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_", "MAINPID", "NOTIFY_SOCKET"),
    *("CLICOLOR", "COLORTERM", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TERM"),
    *("LANG", "LC_", "PYTHON"),
)
_OURS = (
    "AGENTBUS_TEST_",  # how the tests run, such as where node_tools keeps its programs
    "XDG_CACHE_HOME",  # where pip and npm look first
    "PYTHONPATH",  # a plugin of pytest's may be found by it
)
_UMASK = 0o022
# Python ignores these itself, and subprocess gives children the default again.
_PYTHONS_OWN = {
    getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ") if hasattr(signal, name)
}


def settle(environ: MutableMapping[str, str]) -> None:
    """Make this process, and what it will start, independent of who started it."""
    for name in [name for name in environ if name.startswith(_NOT_OURS)]:
        if not name.startswith(_OURS):
            del environ[name]
    environ.setdefault("HOME", pwd.getpwuid(os.getuid()).pw_dir)
    os.umask(_UMASK)
    _hear_signals()
    _open_standard_streams()


def _hear_signals() -> None:
    """Have children meet every signal as a terminal's would.

    What is ignored here stays so for a child and its children, and a script's background job
    ignores SIGINT. What is caught is back at its default after exec; so it is caught, and dropped.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - _PYTHONS_OWN:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def _open_standard_streams() -> None:
    """Have no file or socket of a test take the number of a standard stream that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
