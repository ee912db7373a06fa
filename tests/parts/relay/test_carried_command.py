# SPDX-License-Identifier: Apache-2.0
"""What the process of a command says to a listener and hears from it, word by word."""

import _socket
import contextlib
import errno
import socket
import threading

import pytest

from mcp_agentbus.core.feather.printer import EXIT_CODE
from mcp_agentbus.relay import door, local_socket
from mcp_agentbus.relay.carried import command, words
from mcp_agentbus.version import __version__

_HANG_S = 20  # only a hang takes as long


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Commands are typed in that folder, on a bus of its own, in a terminal whose size is known."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "AGENTBUS_HOME": str(tmp_path), "AGENTBUS_HOST": "codex", "COLUMNS": "97", "TZ": "Asia/Tokyo",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command, "_TAKES_WITHIN_S", _HANG_S)
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path


class Played:
    """A listener that is played: what it hears of a process, and says to it."""

    def __init__(self, listening):
        self.listening = listening
        #: What the process has begun with.
        self.typed = None
        #: What it said from then on, in the order of time.
        self.heard = []

    def begin(self):
        """Let the process in; hear what it begins with."""
        self.connection, _ = self.listening.accept()
        self.connection.settimeout(_HANG_S)
        self.file = self.connection.makefile("rb")
        request = local_socket.message(self.file.readline())
        self.typed = words.Typed.unpack(self.file.read(request["size"]))
        assert request == {"op": "typed", "version": __version__, "size": len(self.typed.pack())}

    def close(self):
        """Close the connection."""
        self.file.close()
        self.connection.close()

    def say(self, *frames):
        """Say these."""
        self.connection.sendall(b"".join(words.frame(*each) for each in frames))

    def hear(self):
        """Hear the next frame, or that there is none."""
        kind, _, size = self.file.readline().decode().strip().partition(" ")
        self.heard.append((kind, self.file.read(int(size or 0)).decode()))

    def takes(self, kind="taken", said=""):
        """Take what was typed, and hear that it may go on."""
        self.begin()
        self.say((kind, said))
        self.hear()


@contextlib.contextmanager
def played(home, part):
    """Have a listener played meanwhile by `part`, and whatever it has open closed behind it."""

    def play():
        with contextlib.closing(it):
            part(it)

    with socket.socket(socket.AF_UNIX) as listening:
        with door.Address(door.socket_path(home / "run")) as short:
            listening.bind(short)
        listening.listen()
        listening.settimeout(_HANG_S)
        it = Played(listening)
        playing = threading.Thread(target=play)
        playing.start()
        try:
            yield it
        finally:
            playing.join()
            (home / "run" / "listener.sock").unlink(missing_ok=True)


def typed(*argv, shown=None):
    """Type it; return how it ended, and what was printed on which way."""
    printed = []
    kinds = ("say", "tell", "complain")
    shows = {kind: lambda text, kind=kind: printed.append((kind, text)) for kind in kinds}
    return command.run(argv, shows | (shown or {})), printed


def test_a_listener_is_told_where_and_by_whom_it_was_typed_and_what_it_says_is_printed(here):
    def part(it):
        it.takes()
        it.say(("tell", "Note."), ("changed", 'since "x"'), ("say", "{}"), ("complain", "Late."))
        it.say(("reached",))
        it.hear()
        it.say(("end", 4))
        it.hear()

    with played(here, part) as it:
        done = typed("tasks", "--open")

    assert done == (4, [("tell", "Note."), ("say", "{}"), ("complain", "Late.")])
    assert it.heard == [("go", ""), ("reached", ""), ("", "")]
    request_id = it.typed.request_id
    environ = words.variables({"AGENTBUS_HOME": str(here), "AGENTBUS_HOST": "codex"})
    assert (it.typed.words, it.typed.folder) == (["tasks", "--open"], str(here))
    assert environ.items() <= it.typed.environ.items()
    assert (request_id[:4], len(request_id)) == ("cli-", 20)
    assert it.typed.terminal == [97, it.typed.terminal[1], 0]
    assert (it.typed.zone, it.typed.is_hosted) == ("Asia/Tokyo", True)


def test_a_text_is_read_once_and_kept_for_whoever_goes_on(here):
    (here / "task.md").write_text("All of them, please.")

    with played(here, lambda it: it.takes("read", "required task.md")) as it:
        begun, printed = typed("send", "coder", "Count", "--body-file", "task.md")

    assert it.heard == [("go", "All of them, please.")]
    assert printed == []
    assert vars(begun) == {
        "request_id": it.typed.request_id, "at": begun.at, "body": "All of them, please.",
        "changed": {}, "failed": None, "last": ("", None), "was_taken": True, "hangs": False,
    }  # fmt: skip


def test_it_goes_on_from_the_last_text_that_was_printed_and_no_further(here):
    """What comes behind is known of a text that nobody has seen."""

    def part(it):
        it.takes()
        it.say(
            ("changed", "behind 1"), ("changed", "until 9"), ("say", "1"), ("changed", "behind 2")
        )

    with played(here, part):
        begun, printed = typed("export")

    assert printed == [("say", "1")]
    assert (begun.changed, begun.was_taken) == ({"behind": "1", "until": "9"}, True)


def test_what_was_printed_to_its_end_is_done_whatever_becomes_of_its_listener(here):
    def part(it):
        it.takes()
        it.say(("changed", f"{EXIT_CODE} 3"), ("say", "all"))

    with played(here, part):
        assert typed("status") == (3, [("say", "all")])


def test_what_a_listener_leaves_it_has_not_had(here):
    def part(it):
        it.begin()
        it.say(("left",))
        it.hear()

    with played(here, part) as it:
        begun, printed = typed("tasks", "--no-such")

    assert it.heard == [("", "")]
    assert (begun.was_taken, begun.hangs, begun.failed, printed) == (False, False, None, [])


def test_one_that_does_not_take_it_in_time_has_not_had_it_and_is_hung_up_on(here, monkeypatch):
    monkeypatch.setattr(command, "_TAKES_WITHIN_S", 0.1)

    def part(it):
        it.begin()
        it.hear()

    with played(here, part) as it:
        begun, printed = typed("tasks")

    assert it.heard == [("", "")]
    assert (begun.was_taken, begun.hangs, begun.failed, printed) == (False, False, None, [])


def test_where_there_are_no_such_sockets_nobody_is_asked(here, monkeypatch):
    monkeypatch.delattr(_socket, "AF_UNIX")
    begun, printed = typed("tasks")

    assert (begun.body, begun.changed, begun.failed) == (None, {}, None)
    assert (begun.was_taken, begun.hangs, printed) == (False, False, [])


def test_a_command_as_long_as_may_be_is_done_by_the_listener_and_a_longer_one_without_it(
    here, monkeypatch
):
    def part(it):
        it.takes()
        it.say(("end", 0))

    with played(here, part) as it:
        typed("search", "x")
    longest = len(words.request(__version__, it.typed.pack()))
    monkeypatch.setattr(words, "MAX_BYTES", longest)

    with played(here, part) as it:
        done = typed("search", "x")
        begun, printed = typed("search", "xx")
        it.listening.settimeout(0)
        with pytest.raises(BlockingIOError):
            it.listening.accept()

    assert done == (0, [])
    assert (begun.was_taken, begun.failed, printed) == (False, None, [])


@pytest.mark.parametrize(("length", "is_heard"), [(4088, True), (4089, False)])
def test_a_text_as_long_as_may_be_goes_to_the_listener_and_a_longer_one_does_not(
    here, monkeypatch, length, is_heard
):
    monkeypatch.setattr(words, "MAX_BYTES", 4096)  # with `go`, a blank, its length and a line feed
    body = "x" * length
    (here / "task.md").write_text(body)

    with played(here, lambda it: it.takes("read", "required task.md")) as it:
        begun, _ = typed("send", "coder", "Count", "--body-file", "task.md")

    assert it.heard == [("go", body) if is_heard else ("", "")]
    assert (begun.body, begun.was_taken) == (body, is_heard)


def test_whoever_cannot_print_hangs_up_at_once(here):
    """So the listener ends what it does for it, also while the error is looked at."""

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def part(it):
        it.takes()
        it.say(("changed", f"{EXIT_CODE} 4"), ("say", "all"))
        it.hear()

    with played(here, part) as it:
        begun, _ = typed("tasks", shown={"say": full})

    assert it.heard == [("go", ""), ("", "")]
    assert (begun.failed.errno, begun.changed) == (errno.ENOSPC, {})
    assert begun.last == ("all", 4)  # so it has ended, whoever reads it


def test_where_standard_output_is_closed_nothing_counts_as_seen(here, monkeypatch):
    def part(it):
        it.takes()
        it.say(("say", "all"), ("reached", ""))
        it.hear()

    monkeypatch.setattr("sys.stdout", None)
    with played(here, part) as it:
        begun, _ = typed("tasks")

    assert it.heard == [("go", ""), ("", "")]
    assert isinstance(begun.failed, BrokenPipeError)


def test_where_standard_output_is_closed_what_was_refused_is_left_to_be_said_elsewhere(
    here, monkeypatch
):
    def part(it):
        it.takes()
        it.say(("say", "{}"), ("end", 1))

    monkeypatch.setattr("sys.stdout", None)
    with played(here, part):
        begun, _ = typed("tasks")

    assert isinstance(begun.failed, BrokenPipeError)
    assert begun.last == ("{}", 1)


def test_a_listener_at_work_is_left_in_peace_until_it_has_been_silent_for_long(here, monkeypatch):
    """However short the time is in which it has to take a command."""
    monkeypatch.setattr(command, "_TAKES_WITHIN_S", 0.1)

    def part(it):
        it.takes()
        it.listening.settimeout(0.3)
        with pytest.raises(TimeoutError):
            it.listening.accept()
        it.say(("end", 0))

    with played(here, part):
        assert typed("watch") == (0, [])


def test_one_that_says_that_it_lives_is_waited_for(here, monkeypatch):
    """Whatever it answers; an earlier one knows no such question."""
    monkeypatch.setattr(command, "_SILENT_S", 0.1)

    def part(it):
        it.takes()
        asks, _ = it.listening.accept()
        with asks, asks.makefile("rb") as question:
            assert local_socket.message(question.readline()) == {"op": "hangs"}
            asks.sendall(local_socket.line({"error": "The listener knows no such question."}))
        it.say(("say", "1"), ("end", 0))

    with played(here, part):
        assert typed("watch") == (0, [("say", "1")])


def test_one_that_takes_no_connection_any_more_may_still_end_what_it_does(here, monkeypatch):
    """As while it ends: its door is closed then, and what it has begun goes on."""
    monkeypatch.setattr(command, "_SILENT_S", 0.1)
    asked = threading.Event()
    connect = local_socket.connect

    def refused(place):
        try:
            return connect(place)
        finally:
            asked.set()

    monkeypatch.setattr(local_socket, "connect", refused)

    def part(it):
        it.takes()
        (here / "run" / "listener.sock").unlink()
        assert asked.wait(_HANG_S)
        it.say(("say", "1"), ("end", 0))

    with played(here, part):
        assert typed("watch") == (0, [("say", "1")])


def test_one_that_does_not_answer_hangs_with_the_command_in_its_hands(here, monkeypatch):
    monkeypatch.setattr(command, "_SILENT_S", 0.1)
    monkeypatch.setattr(local_socket, "ASK_TIMEOUT_S", 0.1)

    def part(it):
        it.takes()
        it.hear()

    with played(here, part):
        begun, printed = typed("watch")

    assert (begun.was_taken, begun.hangs, begun.failed, printed) == (True, True, None, [])
