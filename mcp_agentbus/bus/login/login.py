# SPDX-License-Identifier: Apache-2.0
"""By what this machine logs in to a shared server: exactly one way, or none.

    >>> login_of(load_settings()).what
    'the token in /home/me/.config/agentbus/token'

Secrets are read as a connection is opened, so that one which was changed counts at once.
"""

from __future__ import annotations

import base64
import re
import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.login.nkey import Nkey, NoSeed
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import files
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup, NotAllowed

# The two parts of a file of credentials; dashes around their names, as many as there are.
_PART: Final = r"-+BEGIN {}-+\s+(\S+)\s+-+END {}-+"
_JWT: Final = re.compile(_PART.format("NATS USER JWT", "NATS USER JWT"))
_SEED: Final = re.compile(_PART.format("USER NKEY SEED", "USER NKEY SEED"))
# By what who runs a shared server logs in to it, on its machine: see `shared.server_folder`.
_OWNERS: Final = ("admin.nk", "system.nk")
_SECTION: Final = "under [server] in config.toml"
# Of a server that the variable has named.
_VARIABLES: Final = (
    "in the variable AGENTBUS_TOKEN_FILE, AGENTBUS_CREDS_FILE, AGENTBUS_NKEY_FILE, or "
    "AGENTBUS_USER with AGENTBUS_PASSWORD_FILE: what config.toml names goes to the server of its "
    "own url alone"
)


@dataclass(frozen=True)
class Login:
    """What a server is told of who asks to be let in; a secret is shown in no `repr`."""

    #: For people: by what, and from which file.
    what: str = "no login"
    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    key: Nkey | None = field(default=None, repr=False)
    jwt: str | None = field(default=None, repr=False)
    #: Where it is from a file of this user's own configuration.
    file: Path | None = None
    #: Which account of a gate it is, if one.
    account: str | None = None
    #: Where there is none: what would name one.
    named_by: str = f"token_file, creds_file, nkey_file, or user with password_file, {_SECTION}"

    @property
    def options(self) -> dict[str, Any]:
        """What `MendedClient.enter` takes of it."""
        return {
            "token": self.token,
            "user": self.user,
            "password": self.password,
            "nkey": self.key.public if self.key else None,
            "signature_cb": self.key.signed if self.key else None,
            "user_jwt_cb": self.jwt.encode if self.jwt else None,
        }

    @property
    def unanswered(self) -> str:
        """What to do where no server answers: a shared one no command of ours starts."""
        if self.token and self.file is None:
            return "Run `agentbus server start`."
        if self.file and self.file.name in _OWNERS and not self.account:
            folder = shlex.quote(str(self.file.parent))
            return (
                "Look why it does not run here: `systemctl --user status agentbus-server`, as root "
                "without --user; where no systemd keeps it, `agentbus server init --shared --dir "
                f"{folder}` says how it is run."
            )
        return (
            "See that this machine is online, and that AGENTBUS_URL, or url in config.toml, names "
            "the server; else tell whoever runs it."
        )

    def refused(self, server: str, said: str) -> NotAllowed:
        """Return the error of a server that does not let this login in.

        Args:
            server: HOST:PORT, for people.
            said: in NATS's words.
        """
        if self.file is None and self.token is None:
            return NotAllowed(
                f"The server at {server} lets nobody in without a login, and none is set.",
                hint=f"Ask whoever runs it for one, and name its file: {self.named_by}.",
            )
        if self.file is None:
            return NotAllowed(
                "The server does not take this token.",
                hint="Run `agentbus server stop` and try again: the embedded server has another.",
            )
        over = _ended(self.jwt) if self.jwt else None
        if over or "expired" in said.lower():
            when = f" on {over:%Y-%m-%d at %H:%M:%S} UTC" if over else ""
            return NotAllowed(
                f"The server at {server} does not take {self.what}: expired{when}.",
                hint=f"Ask whoever runs it for new ones, and put them into {self.file}.",
            )
        if "revoked" in said.lower():
            return NotAllowed(
                f"The server at {server} does not take {self.what}: revoked.",
                hint="Ask whoever runs it why.",
            )
        if self.account:
            return NotAllowed(
                f"The server at {server} does not let the account {self.account} in by the key in "
                f"{self.file}: it was removed, cut off, or has another key.",
                hint="Ask whoever runs it; with a line of `agentbus server rotate "
                f"{self.account}`, or where it was removed of `agentbus server invite "
                f"{self.account}`, this machine joins anew, by `agentbus join`.",
            )
        return NotAllowed(
            f"The server at {server} does not take {self.what}.",
            hint=f"Ask whoever runs it for the right one, and put it into {self.file}.",
        )


def login_of(settings: Settings) -> Login:
    """Return by what this machine logs in to the shared server that the settings name.

    Raises:
        BadSetup: a file cannot be read, others can, or it does not hold what it is to hold.
    """
    if file := settings.token_file:
        return Login(f"the token in {file}", token=_read(file, "token_file"), file=file)
    if file := settings.password_file:
        password = _read(file, "password_file")
        what = f"the user {settings.user!r} with the password in {file}"
        return Login(what, user=settings.user, password=password, file=file)
    if file := settings.nkey_file:
        key = _nkey(_read(file, "nkey_file"), file, "nkey_file")
        whose = f"of the account {settings.account}" if settings.account else key.public
        return Login(f"the key {whose} in {file}", key=key, file=file, account=settings.account)
    if file := settings.creds_file:
        content = _read(file, "creds_file")
        jwt, seed = _JWT.search(content), _SEED.search(content)
        if not jwt or not seed:
            raise BadSetup(
                f"{file} holds no NATS credentials: a JWT and a seed, each between its lines.",
                hint=f"Ask whoever runs the server for them: creds_file {_SECTION}.",
            )
        key = _nkey(seed[1], file, "creds_file")
        return Login(f"the credentials in {file}", key=key, jwt=jwt[1], file=file)
    if settings.cert_file:
        return Login(f"the certificate in {settings.cert_file}", file=settings.cert_file)
    return Login(named_by=_VARIABLES) if settings.environ.get("AGENTBUS_URL") else Login()


def _read(file: Path, key: str) -> str:
    try:
        files.check_private(file)
        content = files.read_whole(file).decode(errors="replace").strip()
    except OSError as error:
        raise BadSetup(
            f"{file} cannot be read: {error.strerror}.", hint=f"Correct {key} {_SECTION}."
        ) from None
    return content


def _nkey(seed: str, file: Path, key: str) -> Nkey:
    # A file that `nk` has written may have remarks beside it.
    lines = [line.strip() for line in seed.splitlines()]
    try:
        return Nkey(next((line for line in lines if line.startswith("S")), ""))
    except NoSeed:
        raise BadSetup(
            f"{file} holds no seed of a user's key: `SU` and 56 letters and digits more.",
            hint=f"Correct {key} {_SECTION}.",
        ) from None


def _ended(jwt: str) -> datetime | None:
    """Return when a JWT has expired; None if it has not, or does not say."""
    try:
        claims = jwt.split(".")[1]
        expires = int(from_json(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
        at = datetime.fromtimestamp(expires, UTC)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
    return at if at <= datetime.now(UTC) else None
