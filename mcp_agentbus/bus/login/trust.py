# SPDX-License-Identifier: Apache-2.0
"""TLS to a shared server: by what it is known, what it is shown, and why it was not taken.

    >>> trust = trusted(settings, settings.url)  # reads ca_file, cert_file and key_file of [server]
    >>> raise await trust.refused(error, url)
    Untrusted: The certificate of bus.example.org:4222 is signed by nobody whom this machine trusts.

Without `ca_file` what the system trusts counts, and SSL_CERT_FILE, which OpenSSL reads itself.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import nats.errors

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import files
from mcp_agentbus.errors import BadSetup, BusUnreachable, Crowded, CutOff, Untrusted

_SECTION: Final = "under [server] in config.toml"
_KEPT: Final = "Nothing was stored, and no token was sent."
# Those of all authorities that a system trusts are a quarter of a megabyte.
_BUNDLE_MAX_BYTES: Final = 16 << 20
# Why OpenSSL does not take a certificate, see x509_vfy.h: nobody here knows who signed it ...
_UNKNOWN: Final = {2, 18, 19, 20, 21}
# ... it is for another name or address ...
_OTHERS: Final = {62, 64}
# ... or not for this day.
_TOO_EARLY: Final = 9
_EXPIRED: Final = 10
# How long a server that has ended a connection is listened to, in seconds: its alert comes at once.
_LISTENS_S: Final = 0.3
# In the alert of a server that does not take what it was shown, or was not.
_ABOUT_OURS: Final = ("ALERT_CERTIFICATE", "BAD_CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")


class NoTls(nats.errors.Error):
    """The server is to be known by TLS, and offers none."""


# A server's words where an account has all the connections that it may.
_FULL: Final = "connections exceeded"


def not_let_in(server: str, said: str) -> CutOff:
    """Return why a server that answers lets nobody in, by its own last words."""
    if _FULL in said:
        why = f"The server at {server} has as many connections by this login as it lets in."
        return Crowded(f"{why} Nothing was stored.")
    return CutOff(f"The server at {server} answers, but lets nobody in. Nothing was stored.")


@dataclass(frozen=True)
class Trust:
    """What a connection to the shared server is opened with."""

    context: ssl.SSLContext
    #: For people: HOST:PORT.
    server: str
    ca_file: Path | None
    cert_file: Path | None

    async def refused(self, error: BaseException, url: str) -> BusUnreachable | None:
        """Return why there is no connection; None if that has nothing to do with TLS.

        It is `Untrusted` where trying again changes nothing.
        """
        if self.cert_file and isinstance(error, ConnectionError | nats.errors.UnexpectedEOF):
            error = await self._last_word(url) or error
        match error:
            case NoTls():
                return Untrusted(
                    f"The server at {self.server} offers no TLS, and its URL says tls. {_KEPT}",
                    hint="See that AGENTBUS_URL, or url in config.toml, has the port of the bus, "
                    "and that the bus has a certificate: agentbus server config --tls-cert.",
                )
            case ssl.SSLCertVerificationError():
                return self._unverified(error)
            case ssl.SSLError():
                return self._alerted(error)
            case ConnectionError() | nats.errors.UnexpectedEOF():
                return CutOff(
                    f"The server at {self.server} ended the connection as TLS began. "
                    "Nothing was stored.",
                    hint=f"It may want a certificate of this machine: {self._ours}",
                )
        return None

    async def _last_word(self, url: str) -> ssl.SSLError | None:
        """Return by what alert a server ends a connection on which nothing is said to it.

        What is on its way to a server that has ended makes the system drop the alert before it.
        """
        where = urlsplit(url)
        with suppress(OSError, ValueError):
            async with asyncio.timeout(_LISTENS_S):
                reader, writer = await asyncio.open_connection(where.hostname, where.port)
                try:
                    await reader.readline()  # how it greets whoever comes
                    await writer.start_tls(self.context, server_hostname=where.hostname)
                    await reader.read(1)
                except ssl.SSLError as alert:
                    return alert
                finally:
                    writer.transport.abort()
        return None

    @property
    def _ours(self) -> str:
        """What to do about a server that does not take what this machine has shown it."""
        if self.cert_file:
            return f"ask whoever runs it for one that it takes, in the place of {self.cert_file}."
        return f"ask whoever runs it, and name cert_file and key_file {_SECTION}."

    def _unverified(self, error: ssl.SSLCertVerificationError) -> Untrusted:
        what, hint = f"is not valid: {error.verify_message}", Untrusted.hint
        if error.verify_code in _UNKNOWN:
            what = f"is signed by nobody whom this machine trusts ({error.verify_message})"
            hint = f'If it is of a private CA: ca_file = "/path/to/its/certificate" {_SECTION}.'
            if self.ca_file:
                what = f"is not signed by whom {self.ca_file} names ({error.verify_message})"
                hint = f"Ask whoever runs the server for its CA's certificate: ca_file {_SECTION}."
        elif error.verify_code in _OTHERS:
            what = f"is for another name: {error.verify_message.rstrip('.')}"
            hint = "Name the server in its URL as its certificate does."
        elif error.verify_code == _EXPIRED:
            what = "has expired"
            hint = "Tell whoever runs the server; and see that the clock here is right, by `date`."
        elif error.verify_code == _TOO_EARLY:
            what, hint = (
                "is not valid yet",
                "See that the clock here is right, by `date`.",
            )
        return Untrusted(f"The certificate of {self.server} {what}. {_KEPT}", hint=hint)

    def _alerted(self, error: ssl.SSLError) -> Untrusted:
        """Return the error of a handshake that failed for another reason than its certificate."""
        reason = error.reason or "no reason given"
        said = reason.rpartition("ALERT_")[2].replace("_", " ").lower()
        if not any(word in reason for word in _ABOUT_OURS):
            return Untrusted(f"TLS with the server at {self.server} failed: {said}. {_KEPT}")
        return Untrusted(
            f"The server at {self.server} does not let this machine in ({said}). "
            "Nothing was stored.",
            hint=f"It wants another certificate of this machine: {self._ours}",
        )


def trusted(settings: Settings, url: str) -> Trust | None:
    """Return what a connection to a shared server is opened with; None if that is without TLS.

    Raises:
        BadSetup: a file of [server] cannot be used: it is not there, holds no certificate or none
            that goes with the key, or the key is open to others.
    """
    where = urlsplit(url)
    if where.scheme != "tls" and not (settings.ca_file or settings.cert_file):
        return None
    context = _trusting(settings.ca_file) if settings.ca_file else _by_default()
    if settings.cert_file:
        _show(context, settings.cert_file, settings.key_file)
    return Trust(context, server_at(url), settings.ca_file, settings.cert_file)


def server_at(url: str) -> str:
    """Return HOST:PORT for people; an address of IPv6 stands in brackets."""
    where = urlsplit(url)
    host = where.hostname or ""
    return f"[{host}]:{where.port or 4222}" if ":" in host else f"{host}:{where.port or 4222}"


def in_the_open(server: str, addresses: Sequence[str]) -> Untrusted:
    """Return the error of a server that is spoken to without TLS, and is in no private network."""
    return Untrusted(
        f"The server {server} is at {addresses[0]}, in no private network, and its URL is without "
        f"TLS. {_KEPT}",
        hint="Use tls://: allow_plaintext is for private addresses, as those of Tailscale.",
    )


def _by_default() -> ssl.SSLContext:
    """Return what takes certificates that this system trusts, or those in SSL_CERT_FILE."""
    given = ssl.get_default_verify_paths()
    if named := os.environ.get(given.openssl_cafile_env):
        try:
            files.read_whole(named, _BUNDLE_MAX_BYTES)
        except FileNotFoundError:  # then OpenSSL trusts nobody, which the error of a server says
            pass
        except OSError as error:
            what = f"{named} cannot be read: {error.strerror}."
            raise BadSetup(what, hint=f"Correct or unset {given.openssl_cafile_env}.") from None
    return ssl.create_default_context()


def _trusting(authority: Path) -> ssl.SSLContext:
    """Return what takes certificates of this authority only."""
    try:
        files.read_whole(authority, _BUNDLE_MAX_BYTES)  # OpenSSL would wait for a pipe
        return ssl.create_default_context(cafile=authority)
    except ssl.SSLError:
        raise _wrong(f"{authority} holds no certificate in PEM.", "ca_file") from None
    except OSError as error:
        raise _wrong(f"{authority} cannot be read: {error.strerror}.", "ca_file") from None


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Have a connection show this machine's certificate to the server."""
    with_key = key or certificate  # both may stand in one file
    try:
        files.read_whole(certificate)
        content = files.read_whole(with_key)
        if b"PRIVATE KEY" not in content:
            raise _wrong(f"{with_key} holds no key in PEM.", "key_file")
        files.check_private(with_key)
        if b"ENCRYPTED" in content:
            raise BadSetup(
                f"The key in {with_key} has a passphrase, which nobody is there to type.",
                hint=f"Name one without (openssl pkey -in KEY -out OTHER): key_file {_SECTION}.",
            )
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            what = f"The key in {with_key} is not that of the certificate in {certificate}."
        else:
            what = f"{certificate} and its key in {with_key} are not in PEM."
        raise _wrong(what, "cert_file") from None
    except OSError as error:
        what = f"{error.filename or certificate} cannot be read: {error.strerror}."
        raise _wrong(what, "cert_file or key_file") from None


def _wrong(what: str, name: str) -> BadSetup:
    return BadSetup(what, hint=f"Correct {name} {_SECTION}.")
