# SPDX-License-Identifier: Apache-2.0
"""Which server the bus is on, what opens it, and by what it is known.

    [server]
    url = ["tls://a.example.org:4222", "tls://b.example.org:4222"]
    creds_file = "~/.config/agentbus/coder.creds"

Each key but one has a variable of its own, `IN_ENVIRON` or `BINARY`, which comes before it. What
opens the server that config.toml names is for no other: where the variable names one, what opens
that has to be said by variables, too. No value is a secret: what is one stands in a file, and
whoever opens a connection reads it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from mcp_agentbus.config.tables import Key, Wrong, checked, of_type, readers
from mcp_agentbus.config.values import LOOPBACK, string, strings
from mcp_agentbus.core import ids, places
from mcp_agentbus.errors import BadSetup

# A NATS server's, where the URL names none.
_PORT: Final = 4222
# More than the servers of a cluster.
_URLS_MAX: Final = 16
#: The variables that say what a key of [server] says, and come before it; paths and names.
IN_ENVIRON: Final = {
    "url": "AGENTBUS_URL",
    "token_file": "AGENTBUS_TOKEN_FILE",
    "user": "AGENTBUS_USER",
    "password_file": "AGENTBUS_PASSWORD_FILE",
    "creds_file": "AGENTBUS_CREDS_FILE",
    "nkey_file": "AGENTBUS_NKEY_FILE",
    "ca_file": "AGENTBUS_CA_FILE",
    "cert_file": "AGENTBUS_CERT_FILE",
    "key_file": "AGENTBUS_KEY_FILE",
    "account": "AGENTBUS_ACCOUNT",
}
#: The same of the program that an embedded server is; it does not say which server.
BINARY: Final = "AGENTBUS_NATS_SERVER"
# Each is a way to log in, of which a server takes one.
_WAYS: Final = ("token_file", "user", "creds_file", "nkey_file")
# What is nothing without another.
_NEEDS: Final = {
    "user": "password_file",
    "password_file": "user",
    "key_file": "cert_file",
    "account": "nkey_file",
}
# What belongs together: where a variable says some of it, config.toml says nothing of the rest.
_TOGETHER: Final = ((*_WAYS, "password_file", "account"), ("cert_file", "key_file"))
# Networks that nobody else is in: Tailscale's, and those that private ones such as WireGuard's use.
_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            *("100.64.0.0/10", "fd7a:115c:a1e0::/48"),
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        ),
    )
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """What is configured of the server."""

    #: A shared server, or several of one cluster with commas between them; None means the embedded
    #: one of this user.
    url: str | None = None
    #: A file that holds the shared server's token.
    token_file: Path | None = None
    #: Who this machine is there, with a file that holds the password.
    user: str | None = None
    password_file: Path | None = None
    #: A file with a JWT and the seed of its key, as `nsc` writes it.
    creds_file: Path | None = None
    #: A file with the seed of a key.
    nkey_file: Path | None = None
    #: Whether the network itself is encrypted, so that TLS may be left out on it.
    allow_plaintext: bool = False
    #: The certificates of who signs the shared server's; what the system trusts if None.
    ca_file: Path | None = None
    #: What this machine shows the shared server: its certificate and, if not in there, its key.
    cert_file: Path | None = None
    key_file: Path | None = None
    #: Which account of a shared server's gate this machine's user is, by the key in `nkey_file`.
    account: str | None = None
    #: A nats-server to use instead of the one that was installed along.
    binary: Path | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """Each of the servers; none means the embedded one."""
        return tuple(self.url.split(",")) if self.url else ()

    @property
    def keeps_outbox(self) -> bool:
        """Whether what is sent is kept here while the bus is out of reach: it is elsewhere."""
        return bool(self.url)

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """Those of the files that nobody else may read."""
        all_files = (self.token_file, self.password_file, self.creds_file, self.nkey_file)
        return tuple(filter(None, (*all_files, self.key_file)))


def _urls(value: Any) -> str:
    """Take a URL, or a list of them."""
    return string(value) if isinstance(value, str) else ",".join(_listed(value))


def _listed(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Wrong("is not a string", "Write one URL in quotes, or several in a list.")
    urls = strings(value)
    if not urls or any("," in url for url in urls):
        raise Wrong("is no list of URLs", 'Write it as ["tls://a.example.org:4222"].')
    return urls


#: Every key of [server].
SERVER_KEYS: Final = (
    Key("url", _urls, Server,
        "The shared server: a `nats://` or `tls://` URL without a secret in it, or a list of those "
        "of a cluster: the first that answers is used, and after a lost connection the next. In "
        "the variable a comma stands between two.",
        '"tls://bus.example.org:4222"', "this user's own server"),
    Key("token_file", of_type(str), Server,
        "The file (0600) that holds the shared server's token. It goes to the server of the `url` "
        "beside it, as all that opens one: where the variable names another, variables say what "
        "opens that.",
        '"~/.config/agentbus/token"', "no token"),
    Key("user", string, Server,
        "In the place of a token: who this machine is on the server, with `password_file`.",
        '"laptop"', "none"),
    Key("password_file", of_type(str), Server,
        "The file (0600) that holds the password of `user`.",
        '"~/.config/agentbus/password"', "none"),
    Key("creds_file", of_type(str), Server,
        "In the place of a token: the file (0600) with a JWT and its seed, as `nsc generate creds` "
        "writes it.",
        '"~/.config/agentbus/laptop.creds"', "none"),
    Key("nkey_file", of_type(str), Server,
        "In the place of a token: the file (0600) with the seed of an nkey, `SU` and more.",
        '"~/.config/agentbus/laptop.nk"', "none"),
    Key("allow_plaintext", of_type(bool), Server,
        "Whether a server off this machine may be used without TLS: say it only where the network "
        "itself is encrypted. It holds for private addresses only, as those of "
        "[Tailscale and WireGuard](nats.md#tailscale-and-wireguard).",
        "true", "`false`"),
    Key("ca_file", of_type(str), Server,
        "The certificate (PEM) of the private CA that signs the shared server's; then no other "
        "counts.",
        '"~/.config/agentbus/ca.pem"', "what the system trusts, or SSL_CERT_FILE and SSL_CERT_DIR"),
    Key("cert_file", of_type(str), Server,
        "The certificate (PEM) that this machine shows to a shared server that asks for one.",
        '"~/.config/agentbus/client.pem"', "none"),
    Key("key_file", of_type(str), Server,
        "The file (0600) with the key of `cert_file`, without a passphrase.",
        '"~/.config/agentbus/client.key"', "it stands in `cert_file`"),
    Key("account", string, Server,
        "Which account this user of this machine is, on a server that keeps a gate, by the key of "
        "`nkey_file`. `agentbus join` writes it.",
        '"laptop"', "none: all is asked of the server itself"),
    Key("binary", of_type(str), Server,
        "The nats-server that is started in the place of the one that came along.",
        '"/usr/local/bin/nats-server"', "the one that came along"),
)  # fmt: skip
_IN_SERVER: Final = readers(SERVER_KEYS)


def read(table: object, env: Mapping[str, str], where: str) -> dict[str, Any]:
    """Return the fields of a `Server`, by what [server] and the variables say.

    Raises:
        BadSetup: a key that does not exist, or a value that makes no sense; more than one way to
            log in, or half of one; a server off this machine without TLS.
    """
    server = checked(table, _IN_SERVER, where)
    given = {key: env[name] for key, name in IN_ENVIRON.items() if env.get(name)}
    is_another = _is_another(given.get("url", ""), server.get("url", ""))
    for group in _TOGETHER:
        if is_another or any(key in given for key in group):
            server = {key: value for key, value in server.items() if key not in group}
    _check_login(server, where)
    _check_login({IN_ENVIRON[key]: value for key, value in given.items()}, "The environment")
    values = {**server, **given}
    if binary := env.get(BINARY):
        values["binary"] = binary
    allows = values.pop("allow_plaintext", False)
    by = {key: IN_ENVIRON[key] if key in given else f"{where}: {key}" for key in ("url", "account")}
    url = _checked_urls(values.pop("url", ""), by["url"], allow_plaintext=allows)
    user, account = (values.pop(name, None) or None for name in ("user", "account"))
    if account and not ids.is_agent(account):
        hint = "Write it as `agentbus join` did: small letters, digits and dashes."
        raise BadSetup(f"{by['account']} is no account's name.", hint=hint)
    files = {key: _path(value, env) for key, value in values.items()}
    return {"url": url, "user": user, "account": account, "allow_plaintext": allows, **files}


def _is_another(given: str, written: str) -> bool:
    """Tell whether a variable leads to a server that config.toml does not name, and it names one.

    A project's settings may say the variable, and whoever has set up that server gets what is said
    to it.
    """
    return bool(given and written) and not _ends(given) <= _ends(written)


def _ends(urls: str) -> set[tuple[str, str | None, int]]:
    """Return who is spoken to, and whether by TLS; one that is no server's is like no other."""
    parts = {url: _one_server(url.strip()) for url in urls.split(",")}
    return {
        (of.scheme, _host(of.hostname), of.port or _PORT) if of else (url, None, 0)
        for url, of in parts.items()
    }


def _host(name: str | None) -> str | None:
    return "localhost" if name in LOOPBACK else name


def _checked_urls(given: str, by: str, *, allow_plaintext: bool) -> str | None:
    if not given:
        return None
    urls = [url.strip() for url in given.split(",")]
    for url in urls[:_URLS_MAX]:
        check_url(url, by, allow_plaintext=allow_plaintext)
    if len(urls) > _URLS_MAX:
        raise BadSetup(f"{by} names {len(urls)} servers.", hint=f"Leave {_URLS_MAX}.")
    return ",".join(urls)


def _check_login(given: Mapping[str, Any], where: str) -> None:
    """See that there is one way to log in at most, and that it is whole.

    Args:
        given: by the names of keys, or of variables.
        where: what has them, for people.
    """

    def named(key: str) -> str:
        return next((name for name in (key, IN_ENVIRON[key]) if given.get(name)), "")

    ways = [name for key in _WAYS if (name := named(key))]
    if len(ways) > 1:
        raise BadSetup(
            f"{where} has {len(ways)} ways to log in: {' and '.join(ways)}.",
            hint="Leave the one that the server takes.",
        )
    for key, needed in _NEEDS.items():
        if (name := named(key)) and not named(needed):
            missing = needed if name == key else IN_ENVIRON[needed]
            raise BadSetup(
                f"{where} has {name} and no {missing}.",
                hint=f"Set {missing}, too, or take {name} out.",
            )


def _path(value: object, env: Mapping[str, str]) -> Path | None:
    return Path(places.absolute(str(value), env)) if value else None


def check_url(url: str, by: str, *, allow_plaintext: bool) -> None:
    """See that `url` names a server, without a secret, by TLS unless it may be without.

    Args:
        url: of one server.
        by: what has said it, for people.
        allow_plaintext: as in `Server`.

    Raises:
        BadSetup: it does not.
    """
    parts = _one_server(url)
    if not parts or parts.scheme not in {"nats", "tls"} or not parts.hostname:
        raise BadSetup(
            f"{by} is not a nats:// or tls:// URL.",
            hint="Name the server, with nothing after its port: tls://bus.example.org:4222",
        )
    if parts.username or parts.password:
        raise BadSetup(
            "The server's URL has a secret in it.",
            hint="Take it out, and put it into a 0600 file that [server] of config.toml names: a "
            "token in token_file; of a user, user and password_file. Or in AGENTBUS_TOKEN_FILE, "
            "AGENTBUS_USER and AGENTBUS_PASSWORD_FILE.",
        )
    if "%" in parts.hostname:
        raise BadSetup(
            f"The server's address {parts.hostname} names an interface of one machine.",
            hint="Use an address without % in it, as ip -6 address show scope global has them.",
        )
    if parts.scheme == "tls" or parts.hostname in LOOPBACK:
        return
    if not allow_plaintext:
        raise BadSetup(
            f"The server {parts.hostname} is off this machine and the URL is without TLS.",
            hint="Use tls://, or set allow_plaintext = true under [server] in "
            "config.toml if the network itself is encrypted.",
        )
    if _is_address(parts.hostname) and not is_private(parts.hostname):
        raise BadSetup(
            f"The server {parts.hostname} is in no private network and the URL is without TLS.",
            hint="Use tls://: allow_plaintext is for private addresses, as those of Tailscale "
            "(100.64.0.0/10) and WireGuard.",
        )


def is_private(address: str) -> bool:
    """Tell whether an IP address is this machine's, or one of a private network."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or any(ip in network for network in _PRIVATE)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _one_server(url: str) -> SplitResult | None:
    """Return the URL's parts, or None if it says more than a server's address."""
    try:
        parts = urlsplit(url)
        usable = parts.port != 0
    except ValueError:  # not shown: its text may hold a piece of a secret
        return None
    more = parts.path.removeprefix("/") or parts.query or parts.fragment or "," in parts.netloc
    return parts if usable and not more else None
