# SPDX-License-Identifier: Apache-2.0
"""What is typed after `agentbus server`: this user's own, and one for several machines."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mcp_agentbus.cli.arguments import duration
from mcp_agentbus.cli.grammar.command import WEEK_S, command

if TYPE_CHECKING:
    from mcp_agentbus.cli.grammar.command import Commands


def add(commands: Commands) -> None:
    """Declare it."""
    about = "start, stop, look at or back up this user's server"
    server = commands.add_parser("server", help=about, description=f"{about.capitalize()}.")
    actions = server.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, does in (
        ("start", "start it, if it does not run"),
        ("stop", "stop it; its tasks are kept"),
        ("status", "show where it is and what it holds"),
    ):
        command(actions, action, does, agent=False)
    config = command(
        actions, "config", "print the configuration of a server for several machines", agent=False
    )
    config.add_argument("--listen", default="127.0.0.1:4222", metavar="HOST:PORT")
    config.add_argument("--store", default="/var/lib/agentbus", metavar="DIR")
    config.add_argument("--max-store", type=float, default=8, metavar="GIB", help="default: 8")
    config.add_argument("--tls-cert", metavar="FILE", help="needed unless it is on loopback")
    config.add_argument("--tls-key", metavar="FILE")
    plain = "for an address of Tailscale or WireGuard, which encrypt by themselves"
    config.add_argument("--allow-plaintext", action="store_true", help=plain)
    made = "print what agentbus makes there instead, for an owner who lets no user make anything"
    config.add_argument("--streams", action="store_true", help=made)
    whose = "with --streams: also the consumers of these, as planner,coder,role:review"
    config.add_argument(
        "--for", dest="agents", action="append", default=[], metavar="AGENT,...", help=whose
    )
    several = "with --streams: on how many servers each is kept"
    config.add_argument("--replicas", type=int, choices=(1, 3, 5), default=1, help=several)
    _add_init(actions)
    _add_accounts(actions)
    _add_backup(actions)


def _add_backup(actions: Commands) -> None:
    backup = command(actions, "backup", "write all that the bus holds into a folder", agent=False)
    backup.add_argument("folder", metavar="FOLDER", help="a new one")
    _add_dir(backup)
    backup.epilog = (
        "Tasks, where they stand, results, who is registered and who has joined; no secret key. "
        "The bus goes on meanwhile, and the folder is there once all of it is."
    )
    restore = command(actions, "restore", "have a bus hold what a backup does", agent=False)
    restore.add_argument("folder", metavar="FOLDER", help="as `agentbus server backup` made it")
    restore.add_argument(
        "--replace", action="store_true",
        help="also where the bus holds something: that is backed up, and goes",
    )  # fmt: skip
    restore.add_argument("--yes", action="store_true", help="do not ask")
    _add_dir(restore)


def _add_accounts(actions: Commands) -> None:
    gate = command(
        actions, "gate", "run the gate of a shared server, by which others use its bus", agent=False
    )
    invite = command(
        actions, "invite", "print a line by which somebody joins a shared server", agent=False
    )
    who = "the account: one user on one machine, such as laptop"
    invite.add_argument("name", metavar="NAME", help=who)
    _add_role(invite)
    rotate = command(
        actions, "rotate", "print a line by which an account gets another key", agent=False
    )
    rotate.add_argument("name", metavar="NAME", help=who)
    rotate.add_argument(
        "--now", action="store_true", help="have the key that it has count no more, at once"
    )
    for each in (invite, rotate):
        each.needs_each_word = True
        each.add_argument(
            "--expires", type=duration(60, WEEK_S), default=3600, metavar="DURATION",
            help="how long the line is good, once: 60s to 7d (default: 1h)",
        )  # fmt: skip
    accounts = command(
        actions, "accounts", "list who has joined a shared server, or change one", agent=False
    )
    accounts.add_argument("name", nargs="?", metavar="NAME", help=who)
    _add_role(accounts)
    accounts.add_argument(
        "--no-role", action="append", metavar="ROLE", help="it is to read this one no more"
    )
    accounts.add_argument(
        "--all", action=argparse.BooleanOptionalAction,
        help="it may write to any number of others' agents at once, or to 50 a minute",
    )  # fmt: skip
    accounts.add_argument(
        "--readmit", action="store_true", help="let it in again, which was cut off or removed"
    )
    accounts.add_argument(
        "--revoke", action="store_true", help="have its open invitations open nothing any more"
    )
    remove = command(actions, "remove", "cut an account off a shared server", agent=False)
    remove.needs_each_word = True
    remove.add_argument("name", metavar="NAME", help=who)
    remove.add_argument(
        "--give-back", action="store_true",
        help="end what waits for its agents, and tell the senders (default: it is kept)",
    )  # fmt: skip
    remove.add_argument("--yes", action="store_true", help="do not ask")
    for each in (gate, invite, rotate, accounts, remove):
        _add_dir(each)


def _add_role(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--role", action="append", metavar="ROLE",
        help="a shared inbox that its agents may read; may be given again",
    )  # fmt: skip


def _add_dir(command: argparse.ArgumentParser) -> None:
    """Take which server's."""
    command.add_argument(
        "--dir", metavar="SERVER",
        help="the server's folder (default: shared/ in agentbus's data folder)",
    )  # fmt: skip


def _add_init(actions: Commands) -> None:
    init = command(actions, "init", "make the folder of a server for several machines", agent=False)
    init.add_argument("--shared", action="store_true", required=True, help="say that it is that")
    init.add_argument(
        "--listen", metavar="ADDR[:PORT]", help="default: every address of this machine, port 4222"
    )
    init.add_argument(
        "--name", nargs="+", action="extend", metavar="HOST",
        help="by what other machines reach it, a name or an address; the first is the one that "
        "they are told (default: the address and name of this machine)",
    )  # fmt: skip
    init.add_argument(
        "--cluster", metavar="A,B,C",
        help="three servers that are one bus: names or addresses, each with :PORT if not 4222",
    )  # fmt: skip
    init.add_argument("--cert", metavar="FILE", help="its certificate (PEM), if you have one")
    init.add_argument("--key", metavar="FILE", help="that one's key")
    init.add_argument("--dir", metavar="FOLDER", help="default: shared/ in agentbus's data folder")
    init.add_argument("--dry-run", action="store_true", help="only say what would be done")
    init.epilog = (
        "The same again keeps all keys and who has joined, and renews a certificate that expires "
        "within 30 days or whose names have changed."
    )
