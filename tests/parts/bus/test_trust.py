# SPDX-License-Identifier: Apache-2.0
"""The certificates that [server] names: what is read, and what is said of a file that is of no use."""

import os
import ssl

import pytest
from certificates import Authority
from local_server import configured

from mcp_agentbus.bus.login import trust as trusting
from mcp_agentbus.config.settings import neighbour_environ
from mcp_agentbus.errors import BadSetup

URL = 'url = "tls://bus.example.org"'


def trusted(settings):
    return trusting.trusted(settings, settings.url or "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder):
    return Authority(folder, "Example CA")


@pytest.fixture(scope="module")
def issued(authority):
    return {name: authority.issued(name) for name in ("one", "two", "open")} | {
        "typed": authority.issued("typed", passphrase=b"long")
    }


@pytest.fixture
def saying(tmp_path):
    """Gives the settings of a machine whose [server] says these lines."""
    return lambda *lines, **environ: configured(
        tmp_path / "home", "\n".join(["[server]", *lines]), **environ
    )


def _named(**given):
    return [f'{name} = "{file}"' for name, file in given.items()]


def test_without_tls_nothing_is_read(saying):
    assert trusted(saying('url = "nats://127.0.0.1:4222"')) is None
    assert trusted(saying("")) is None


def test_a_private_authority_counts_and_no_other(saying, authority):
    trust = trusted(saying(URL, *_named(ca_file=authority.file)))

    [known] = trust.context.get_ca_certs()
    assert dict(pair for [pair] in known["subject"]) == {"commonName": "Example CA"}
    assert (trust.context.verify_mode, trust.context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert trust.server == "bus.example.org:4222"


def test_certificate_and_key_may_stand_in_one_file(saying, folder, issued):
    both = folder / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(b"".join(file.read_bytes() for file in issued["one"]))

    assert trusted(saying(URL, *_named(cert_file=both))).cert_file == both


def test_a_file_that_is_of_no_use_is_named_with_what_mends_it(saying, folder, issued):
    certificate, key = issued["one"]
    (folder / "text").write_text("none\n")
    os.mkfifo(folder / "pipe", 0o600)
    issued["open"][1].chmod(0o640)
    for given, said in (
        ({"ca_file": folder / "gone"}, "gone cannot be read: No such file"),
        ({"ca_file": folder / "pipe"}, "pipe cannot be read: it is a pipe and no file"),
        ({"cert_file": folder / "pipe", "key_file": key}, "it is a pipe and no file"),
        ({"ca_file": folder / "text"}, "text holds no certificate in PEM"),
        ({"cert_file": certificate}, "one.crt holds no key in PEM. Hint: Correct key_file under"),
        ({"cert_file": folder / "gone", "key_file": key}, "gone cannot be read: No such file"),
        ({"cert_file": certificate, "key_file": folder / "gone"}, "gone cannot be read"),
        ({"cert_file": folder / "text", "key_file": key}, "text and its key in .*one.key are not"),
        ({"cert_file": certificate, "key_file": issued["two"][1]}, "two.key is not that of the"),
        ({"cert_file": issued["open"][0], "key_file": issued["open"][1]}, "chmod 600 .*open.key"),
        ({"cert_file": issued["typed"][0], "key_file": issued["typed"][1]}, "has a passphrase"),
    ):
        settings = saying(URL, *_named(**given))
        with pytest.raises(BadSetup, match=said):
            trusted(settings)


def test_openssl_is_not_given_a_pipe_to_wait_for(saying, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pipe"))

    with pytest.raises(BadSetup, match="Hint: Correct or unset SSL_CERT_FILE"):
        trusted(saying(URL))


def test_a_key_without_a_certificate_is_refused_where_it_is_written(saying):
    with pytest.raises(BadSetup, match=r"has key_file and no cert_file"):
        saying(URL, 'key_file = "/etc/key.pem"')


def test_who_is_started_elsewhere_trusts_the_same(saying, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exported = {"SSL_CERT_FILE": "ca.pem", "SSL_CERT_DIR": "/etc/certificates"}
    led = neighbour_environ(saying(URL, **exported))
    plain = neighbour_environ(saying('url = "nats://127.0.0.1"', **exported))
    gateway = 'host = "openclaw"\ndir = "/tmp"\nwake = "work"\ngateway_url = "https://gateway"'
    waking = neighbour_environ(saying("[agents.claw]", gateway, **exported))

    assert led["SSL_CERT_FILE"] == str(tmp_path / "ca.pem")
    assert led["SSL_CERT_DIR"] == "/etc/certificates"
    assert set(plain) == {"AGENTBUS_HOME"}
    assert waking == led  # its listener speaks to a gateway by TLS
