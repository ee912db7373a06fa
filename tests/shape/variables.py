# SPDX-License-Identifier: Apache-2.0
"""Every environment variable of agentbus's own: what it says, and what holds without it.

They are read where they are needed; a test sees that the sources name these and no other. None
holds a secret but AGENTBUS_TOKEN, which a server reads and agentbus does not. The hosts' own
variables are in the table of hosts, `core.hosts`.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Variable(NamedTuple):
    """An environment variable, and what docs/config.md says of it."""

    name: str
    #: What it means.
    sentence: str
    #: What holds without it, as it is shown.
    default: str
    #: A value.
    example: str


VARIABLES: Final = (
    Variable(
        "AGENTBUS_ACCOUNT",
        "As `account` of `[server]`, which it comes before.",
        "`account`",
        "laptop",
    ),
    Variable(
        "AGENTBUS_AGENT",
        "Who this session is; `--agent` comes before it.",
        "by the folder",
        "reviewer",
    ),
    Variable(
        "AGENTBUS_CA_FILE",
        "As `ca_file` of `[server]`, which it comes before.",
        "`ca_file`",
        "~/.config/agentbus/ca.pem",
    ),
    Variable(
        "AGENTBUS_CERT_FILE",
        "As `cert_file` of `[server]`, which it comes before.",
        "`cert_file`",
        "~/.config/agentbus/client.pem",
    ),
    Variable(
        "AGENTBUS_CREDS_FILE",
        "As `creds_file` of `[server]`, which it comes before.",
        "`creds_file`",
        "~/.config/agentbus/laptop.creds",
    ),
    Variable(
        "AGENTBUS_HOME",
        "One folder for everything: `data`, `state`, `run` and `config.toml`. Another folder is "
        "another bus.",
        "the platform's folders, above",
        "/srv/agentbus",
    ),
    Variable(
        "AGENTBUS_HOST",
        "What this session runs in, whatever the host's own variables say; `agentbus install` "
        "writes it into each entry, and the plugin says it.",
        "by the host's own variables, below",
        "openclaw",
    ),
    Variable(
        "AGENTBUS_KEY_FILE",
        "As `key_file` of `[server]`, which it comes before.",
        "`key_file`",
        "~/.config/agentbus/client.key",
    ),
    Variable(
        "AGENTBUS_LISTENER",
        "`off`, `0`, `no` or `never` keeps sessions from starting a listener.",
        "they start one where none is",
        "off",
    ),
    Variable(
        "AGENTBUS_NATS_SERVER",
        "As `binary` of `[server]`, which it comes before.",
        "`binary`",
        "/usr/local/bin/nats-server",
    ),
    Variable(
        "AGENTBUS_NKEY_FILE",
        "As `nkey_file` of `[server]`, which it comes before.",
        "`nkey_file`",
        "~/.config/agentbus/laptop.nk",
    ),
    Variable(
        "AGENTBUS_PASSWORD_FILE",
        "As `password_file` of `[server]`, which it comes before.",
        "`password_file`",
        "~/.config/agentbus/password",
    ),
    Variable(
        "AGENTBUS_TOKEN",
        "Read by a shared nats-server that was started with the configuration of `agentbus server "
        "config`: its token. agentbus itself never reads it.",
        "none",
        "a long random word",
    ),
    Variable(
        "AGENTBUS_TOKEN_FILE",
        "As `token_file` of `[server]`, which it comes before.",
        "`token_file`",
        "~/.config/agentbus/token",
    ),
    Variable(
        "AGENTBUS_URL",
        "As `url` of `[server]`, which it comes before.",
        "`url`",
        "tls://bus.example.org:4222",
    ),
    Variable(
        "AGENTBUS_USER",
        "As `user` of `[server]`, which it comes before.",
        "`user`",
        "laptop",
    ),
    Variable(
        "AGENTBUS_WATCH_MAX_S",
        "The most that a call of `watch_inbox` waits in this session, in seconds, for clients that "
        "end longer calls; `serve --watch-max` comes before it.",
        "3600",
        "25",
    ),
    Variable(
        "AGENTBUS_WORKER",
        "In whose worker's program this session runs: what it sends goes on from the task that the "
        "worker is at. `agentbus work` sets it.",
        "in none",
        "coder",
    ),
)
