# SPDX-License-Identifier: Apache-2.0
"""NATS's keys: Ed25519, of which a seed lies in a file and signs what a server asks to be signed.

    >>> key = Nkey("SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU")
    >>> key.public
    'UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4'

See https://github.com/nats-io/nkeys: base32 of one or two bytes that say the kind, 32 of the key
and two of a check sum.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Final

# The kinds: a seed, and a user's, of which a seed has the second, too.
_SEED: Final = 18 << 3
_USER: Final = 20 << 3


class NoSeed(ValueError):
    """That is no seed of a user's key. It is not shown: it may be nearly one."""


class Nkey:
    """The key of a user of a NATS server."""

    def __init__(self, seed: str) -> None:
        """Take a seed, `SU` and 56 letters and digits more.

        Raises:
            NoSeed: it is none, or not a user's.
        """
        # Loaded where a key is used, and nowhere else: it takes as long as a hook.
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519

        try:
            raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
        except ValueError:
            raise NoSeed from None
        content, check = raw[:-2], raw[-2:]
        if len(raw) != 36 or _check(content) != check:
            raise NoSeed
        # Five bits say that it is a seed, and the eight that follow whose.
        if content[0] & 0xF8 != _SEED or (content[0] & 7) << 5 | content[1] >> 3 != _USER:
            raise NoSeed
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(content[2:])
        whole = bytes([_USER]) + self._key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        #: By which a server knows it: `U` and more; no secret.
        self.public = base64.b32encode(whole + _check(whole)).decode().rstrip("=")

    def signed(self, nonce: str) -> bytes:
        """Return what proves to a server that has sent `nonce` that the key is here."""
        return base64.b64encode(self._key.sign(nonce.encode()))


def new_seed() -> str:
    """Return the seed of a new user's key: a secret, `SU` and 56 letters and digits more."""
    # The kind of a seed ends, and that of a user begins, within the first byte.
    content = bytes([_SEED | _USER >> 5, _USER << 3 & 0xFF]) + secrets.token_bytes(32)
    return base64.b32encode(content + _check(content)).decode().rstrip("=")


def is_public(key: str) -> bool:
    """Tell whether a text is the public key of a user: `U` and 55 letters and digits more."""
    try:
        raw = base64.b32decode(key)
    except ValueError:
        return False
    return len(key) == 56 and raw[0] == _USER and raw[-2:] == _check(raw[:-2])


def proves(public: str, said: str, signature: bytes) -> bool:
    """Tell whether the key of this public one has signed what was said, as `Nkey.signed` does."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ed25519

    if not is_public(public):
        return False
    key = ed25519.Ed25519PublicKey.from_public_bytes(base64.b32decode(public)[1:33])
    try:
        key.verify(base64.b64decode(signature, validate=True), said.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def _check(content: bytes) -> bytes:
    return binascii.crc_hqx(content, 0).to_bytes(2, "little")
