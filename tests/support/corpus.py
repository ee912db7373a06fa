# SPDX-License-Identifier: Apache-2.0
r"""What attacks were made of: one file a finding, in `tests/hostile/corpus`, that says what it did.

    >>> corpus.read("records", "sign-")
    {'sign-of-a-ghost': b'{"kind":"ghost"}', ...}

`records` are bytes under a subject of ours or in an answer, `lines` come by standard input or the
local socket, `tables` are an `.agentbus.toml`, `repositories` files in a folder or its user's home.
A file has `did`, and `bytes` as pieces with how often each is repeated, where `\udcff` is the byte
0xff; for what a repository has see `hostile_folder`.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "hostile" / "corpus"


def _findings(kind, prefix):
    for file in sorted((FOLDER / kind).glob(f"{prefix}*.json")):
        yield file.stem, json.loads(file.read_text())


def read(kind, prefix=""):
    """Return the bytes of each finding of a kind, by its file's name, those that begin so."""
    return {
        name: b"".join(
            text.encode("utf-8", "surrogateescape") * times for text, times in each["bytes"]
        )
        for name, each in _findings(kind, prefix)
    }


def said(kind):
    """Return what each finding of a kind did, by its file's name."""
    return {name: each["did"] for name, each in _findings(kind, "")}


def repositories():
    """Return what each finding of a repository puts there, by its file's name."""
    return dict(_findings("repositories", ""))
