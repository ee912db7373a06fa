# SPDX-License-Identifier: Apache-2.0
"""A worker's TOML file: taken as it stands, or refused with what to write instead."""

import errno
import json
import logging
import math
import os
import socket
import ssl

import pytest

from mcp_agentbus.errors import BadSetup
from mcp_agentbus.work import log
from mcp_agentbus.work.log import LogFile
from mcp_agentbus.work.worker_file import KEYS, WorkerFile, read

# As those write it who come from the task bus agentbus 0.1.
LEAST = """
[agent]
id = "coder"
# {input} is required and marks where AgentBus inserts the generated prompt.
chat_cmd = ["agent-cli", "chat", "--oneshot", "{input}"]

[worker]
# Use tls:// instead if the server TLS block is enabled.
server_url = "tls://agentbus.example.com:7422"
"""
WHOLE = """
[agent]
id = "coder"
chat_cmd = ["agent-cli", "run", "--prompt", "{input}", "--json"]
extra_instruction = ""

[worker]
server_url = "nats://127.0.0.1:7422"
task_timeout_seconds = 1800
max_task_bytes = 1048576
reconnect_time_wait_seconds = 2
max_reconnect_attempts = -1

[log]
dir = "~/.agentbus/logs"
level = "info"
max_bytes = 104857600
backup_count = 5

"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home of a user who works in another folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def put(path, text, mode=0o600):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def read_at(home, named=None):
    return read(named, {"HOME": str(home)})


@pytest.mark.parametrize("text", [LEAST, WHOLE])
def test_the_file_of_the_task_bus_is_taken_with_its_own_defaults(home, text):
    path = put(home / "agentbus.toml", text)

    file = read_at(home, str(path))

    assert file.agent == "coder"
    assert "{input}" in file.argv
    assert file == WorkerFile(
        path, "coder", file.argv, "", file.url, 1800, 1 << 20, 2, math.inf, logging.INFO,
        LogFile(home / ".agentbus/logs", 104_857_600, 5),
    )  # fmt: skip


def test_each_key_is_taken_and_means_something(home):
    examples = "\n".join(
        f"[{table}]\n" + "\n".join(f"{key.name} = {key.example}" for key in keys)
        for table, keys in KEYS.items()
    )

    path = put(home / "w.toml", examples)

    file = read_at(home, str(path))

    assert file == WorkerFile(
        path, "coder", ("agent-cli", "chat", "--oneshot", "{input}"), "Answer in German.",
        "nats://127.0.0.1:7422", 3600, 65536, 5, 30, logging.WARNING,
        LogFile(home / "logs", 10 << 20, 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("id =", "name =", "[agent] has a key that does not exist: name.", "Known: id, chat_cmd"),
        ("[worker]", "[workr]", "has a key that does not exist: workr.", "Known: agent, worker"),
        ('id = "coder"', "", "[agent] has no id.", 'Add id = "coder"'),
        ('"coder"', '"Coder"', "id names no agent: 'Coder' is not an agent id.", "Use 1 to 63"),
        (
            '["agent-cli", ',
            '"agent-cli" #',
            "chat_cmd is not a list.",
            'Write each part in quotes, and all in brackets: ["one", "two"]',
        ),
        (', "{input}"', "", "has no {input}, where", "agentbus work -- PROGRAM"),
        ('"agent-cli"', '"{input}"', "chat_cmd names no program.", "Write the program first"),
        ("tls://", "nats://", "is off this machine and the URL is without TLS", "Use tls://"),
        ("tls://", "http://", "server_url is not a nats:// or tls:// URL", "Name the server"),
        (
            "tls://",
            "tls://coder:secret@",
            "server_url has a login",
            'as "tls://agentbus.example.com:7',
        ),
        ("tls://", "tls://coder:secret@", "server_url has a login", "user and password_file"),
        (
            "tls://",
            "tls://coder:secret@",
            "server_url has a login",
            "agentbus 0.1, leave it out: the worker is on the bus of your own configuration",
        ),
        ("server_url", "task_timeout_seconds = 0\nserver_url", "is no whole number from 1 to", ""),
        ("server_url", "max_task_bytes = 1.5\nserver_url", "is no whole number", ""),
        ("[worker]", "[log]\nlevel = 'loud'\n[worker]", "level is no level.", "Known: DEBUG, INFO"),
        ("[worker]", "[log]\nbackup_count = 0\n[worker]", "backup_count is no whole number", ""),
        ("[worker]", "[worker", "is not TOML", "Correct it"),
    ],
)
def test_what_it_cannot_mean_is_refused_with_what_to_write(home, old, new, message, hint):
    path = put(home / "w.toml", LEAST.replace(old, new))

    with pytest.raises(BadSetup) as refused:
        read_at(home, str(path)).settings({"AGENTBUS_HOME": str(home)})

    assert message in refused.value.message
    assert hint in refused.value.hint
    assert "secret" not in str(refused.value)


def test_the_first_of_its_places_counts(home):
    with pytest.raises(BadSetup, match=r"none of ./agentbus.toml, ~/.agentbus/config.toml") as none:
        read_at(home)
    assert "agentbus work -- PROGRAM" in none.value.hint
    put(home / ".agentbus/config.toml", LEAST.replace("coder", "users"))
    assert read_at(home).agent == "users"
    put(home / "here/agentbus.toml", LEAST.replace("coder", "folders"))
    assert read_at(home).agent == "folders"


def test_a_file_that_is_not_there_or_that_others_can_change_is_refused(home):
    with pytest.raises(BadSetup, match="is not there"):
        read_at(home, "no.toml")
    with pytest.raises(BadSetup, match="can be changed by other users"):
        read_at(home, str(put(home / "w.toml", LEAST, 0o666)))


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_administrators_file_counts_and_another_users_does_not(home, monkeypatch):
    path = put(home / "w.toml", LEAST, 0o644)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert read_at(home, str(path)).agent == "coder"
    os.chown(path, 1001, 1001)
    with pytest.raises(BadSetup, match="belongs to another user"):
        read_at(home, str(path))


@pytest.fixture
def logging_again():
    """Logging as it was."""
    root, ours = logging.getLogger(), logging.getLogger("mcp_agentbus.work")
    before = root.handlers[:], root.level, ours.level
    yield
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:], root.level, ours.level = before


def test_the_log_is_rotated_and_each_file_is_the_users_alone(tmp_path, logging_again):
    old = os.umask(0)
    try:
        log.write(logging.INFO, LogFile(tmp_path / "logs", 1024, 2))
        for number in range(60):
            log.note("taken", task=f"{number:032}", sender="planner", attempt=1)
    finally:
        os.umask(old)

    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == [
        f"agentbus-worker.log{end}" for end in ("", ".1", ".2")
    ]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert all(file.stat().st_size <= 1024 for file in files)
    assert f'"task": "{59:032}"' in files[0].read_text()


def test_a_log_that_an_earlier_agentbus_left_readable_goes_on_and_is_the_users_alone(
    tmp_path, logging_again
):
    path = put(tmp_path / "logs/agentbus-worker.log", "earlier\n", 0o644)

    log.write(logging.INFO, LogFile(tmp_path / "logs"))
    log.note("stopped")

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith('earlier\n{"at"')


def test_a_log_that_others_can_write_or_that_leads_elsewhere_is_refused(tmp_path, logging_again):
    path = put(tmp_path / "logs/agentbus-worker.log", "", 0o646)
    with pytest.raises(BadSetup, match="is open to other users"):
        log.write(logging.INFO, LogFile(tmp_path / "logs"))
    path.unlink()
    path.symlink_to(put(tmp_path / "other", "", 0o644))
    with pytest.raises(BadSetup, match="is a symlink"):
        log.write(logging.INFO, LogFile(tmp_path / "logs"))
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o644


def test_an_error_is_logged_by_its_kind_and_without_what_it_says(tmp_path, logging_again):
    log.write(logging.INFO, LogFile(tmp_path / "logs"))
    words = "a peer's words"
    try:
        raise ValueError(words)
    except ValueError:
        logging.getLogger("mcp_agentbus.work.worker").exception("a handler failed")

    try:
        raise OSError(errno.ENOSPC, words, words)
    except OSError:
        logging.getLogger("mcp_agentbus.work.job").exception("a handler failed")

    text = (tmp_path / "logs/agentbus-worker.log").read_text()
    assert '"error": "OSError", "why": "ENOSPC: No space left on device", "trace"' in text
    assert '"event": "failed", "what": "a handler failed", "error": "ValueError"' in text
    assert words not in text


@pytest.mark.parametrize("error", [ssl.SSLError(1, "no"), socket.gaierror(8, "no")])
def test_of_an_error_with_a_number_that_is_not_the_systems_no_words_of_it_are_logged(
    tmp_path, logging_again, error
):
    log.write(logging.INFO, LogFile(tmp_path / "logs"))

    logging.getLogger("mcp_agentbus.work.job").error("a handler failed", exc_info=error)

    [line] = (tmp_path / "logs/agentbus-worker.log").read_text().splitlines()
    assert json.loads(line)["error"] == type(error).__name__
    assert "why" not in json.loads(line)
