# SPDX-License-Identifier: Apache-2.0
"""[server] of config.toml, and its variables: one server or several, one way to log in, where TLS may be left out."""

import pytest
from local_server import configured, settings_at

from mcp_agentbus.config.sections.server import IN_ENVIRON, SERVER_KEYS, is_private
from mcp_agentbus.config.settings import (
    neighbour_environ,
    server_of,
    settings_as_before,
    settings_or_defaults,
)
from mcp_agentbus.errors import BadSetup

CLUSTER = ("tls://a.example.org:4222", "tls://b.example.org:4222")


@pytest.fixture
def saying(tmp_path):
    """Gives the settings of a machine whose [server] says these lines."""
    return lambda *lines, **environ: configured(
        tmp_path / "home", "\n".join(["[server]", *lines]), **environ
    )


def test_several_servers_are_named_in_a_list_or_with_commas_between(saying):
    listed = saying(f"url = {list(CLUSTER)}")
    typed = saying("", AGENTBUS_URL=", ".join(CLUSTER))

    assert listed.urls == typed.urls == CLUSTER
    assert listed.url == typed.url
    assert neighbour_environ(typed)["AGENTBUS_URL"] == typed.url
    assert settings_at("/nowhere").urls == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("5", "is not a string"),
        ("[]", "is no list of URLs"),
        ('["tls://a.example.org", 5]', "is not a string"),
        ('["tls://a.example.org,tls://b.example.org"]', "is no list of URLs"),
        ('["tls://a.example.org", ""]', "is not a nats:// or tls:// URL"),
        ('["tls://a.example.org", "nats://b.example.org"]', "b.example.org is off this machine"),
        (str(["tls://a.example.org"] * 17), "names 17 servers"),
    ],
)
def test_a_list_in_which_one_makes_no_sense_is_refused(saying, value, said):
    with pytest.raises(BadSetup, match=said):
        saying(f"url = {value}")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ['token_file = "/t"', 'creds_file = "/c"'],
            r"\[server\] has 2 ways to log in: token_file and creds_file\.",
        ),
        (['user = "me"', 'password_file = "/p"', 'nkey_file = "/k"'], "user and nkey_file"),
        (['user = "me"'], "has user and no password_file"),
        (['password_file = "/p"'], "has password_file and no user"),
        (['key_file = "/k"'], "has key_file and no cert_file"),
    ],
)
def test_there_is_one_way_to_log_in_and_it_is_whole(saying, lines, said):
    with pytest.raises(BadSetup, match=said):
        saying(*lines)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {"AGENTBUS_TOKEN_FILE": "/t", "AGENTBUS_NKEY_FILE": "/k"},
            "The environment has 2 ways to log in: AGENTBUS_TOKEN_FILE and AGENTBUS_NKEY_FILE",
        ),
        ({"AGENTBUS_USER": "me"}, "has AGENTBUS_USER and no AGENTBUS_PASSWORD_FILE"),
    ],
)
def test_the_same_holds_for_variables(tmp_path, environ, said):
    with pytest.raises(BadSetup, match=said):
        settings_at(tmp_path, **environ)


@pytest.mark.parametrize(
    "environ",
    [
        {"AGENTBUS_USER": "laptop"},
        {"AGENTBUS_TOKEN_FILE": "/t", "AGENTBUS_CREDS_FILE": "/c"},
        {"AGENTBUS_KEY_FILE": "/k"},
        {"AGENTBUS_ACCOUNT": "No Name", "AGENTBUS_NKEY_FILE": "/k"},
        {"AGENTBUS_URL": "http://bus"},
    ],
)
def test_who_only_looks_has_settings_whatever_variables_say_of_a_server(tmp_path, environ):
    """So that a session tells its model what is wrong, and doctor makes its other checks."""
    environ = {"AGENTBUS_HOME": str(tmp_path), **environ}

    settings = settings_or_defaults(environ)

    assert (settings.urls, settings.secret_files, settings.account) == ((), (), None)
    assert settings.environ == environ


@pytest.mark.parametrize(
    ("lines", "environ", "said"),
    [
        (["account = 'A b'", "nkey_file = '/k'"], {}, r"\[server\]: account is no account's name"),
        (
            [],
            {"AGENTBUS_ACCOUNT": "A b", "AGENTBUS_NKEY_FILE": "/k"},
            "^AGENTBUS_ACCOUNT is no account's",
        ),
        (["url = 'http://bus'"], {}, r"\[server\]: url is not a nats:// or tls:// URL"),
        (["url = 'tls://bus'"], {"AGENTBUS_URL": "http://bus"}, "^AGENTBUS_URL is not a nats://"),
        ([f"url = {['tls://a.example.org'] * 17}"], {}, r"\[server\]: url names 17 servers"),
    ],
)
def test_what_is_wrong_is_told_of_what_has_said_it(saying, lines, environ, said):
    with pytest.raises(BadSetup, match=said):
        saying(*lines, **environ)


def test_a_way_that_variables_name_takes_the_place_of_the_one_in_the_file(saying):
    lines = ['user = "me"', 'password_file = "/p"', 'cert_file = "/c"', 'key_file = "/k"']

    login = saying(*lines, AGENTBUS_CREDS_FILE="/e/creds", AGENTBUS_CERT_FILE="/e/both")

    assert (login.user, login.password_file, str(login.creds_file)) == (None, None, "/e/creds")
    assert (str(login.cert_file), login.key_file) == ("/e/both", None)


@pytest.mark.parametrize(
    ("url", "is_its"),
    [
        ("tls://a.example.org:4222", True),
        (" tls://B.example.org ,tls://a.example.org", True),
        ("nats://a.example.org:4222", False),  # without TLS anybody may be there
        ("tls://a.example.org:4223", False),
        ("tls://a.example.org,tls://mallory.example.org", False),
        ("nats://127.0.0.1:4222", False),
    ],
)
@pytest.mark.parametrize(
    "login",
    [
        {"token_file": "/t"},
        {"user": "me", "password_file": "/p"},
        {"nkey_file": "/k", "account": "laptop"},
        {"creds_file": "/c"},
        {"cert_file": "/cert", "key_file": "/key"},
    ],
    ids=" ".join,
)
def test_what_opens_the_server_in_the_file_is_for_no_other_that_the_variable_names(
    saying, login, url, is_its
):
    lines = [f'{key} = "{value}"' for key, value in login.items()]

    def opened(*more, **environ):
        plain = ["allow_plaintext = true", *more]
        settings = saying(*plain, *lines, AGENTBUS_URL=url, **environ)
        return {key: str(value) for key in login if (value := getattr(settings, key))}

    assert opened(f"url = {list(CLUSTER)}") == (login if is_its else {})
    assert opened() == login  # it is written down for whichever the variable names


def test_a_server_of_this_machine_is_one_by_whichever_name(saying):
    lines = ['url = "nats://localhost"', 'token_file = "/t"']

    assert str(saying(*lines, AGENTBUS_URL="nats://127.0.0.1:4222").token_file) == "/t"


def test_a_server_that_the_variable_names_is_opened_by_what_variables_name(saying):
    lines = ['url = "tls://a.example.org"', 'token_file = "/t"', 'ca_file = "/ca"']
    elsewhere = {"AGENTBUS_URL": "tls://b.example.org", "AGENTBUS_NKEY_FILE": "/k"}

    settings = saying(*lines, **elsewhere)

    assert (settings.token_file, str(settings.nkey_file)) == (None, "/k")
    assert str(settings.ca_file) == "/ca"  # no secret, and who is trusted is its user's to say


def test_each_key_that_says_how_a_server_is_reached_has_a_variable_that_goes_along(saying):
    assert {key.name for key in SERVER_KEYS} - IN_ENVIRON.keys() == {"allow_plaintext", "binary"}
    some = {"AGENTBUS_USER": "me", "AGENTBUS_PASSWORD_FILE": "/p", "AGENTBUS_CA_FILE": "/ca"}

    settings = saying("", AGENTBUS_URL="tls://bus.example.org", **some)

    assert neighbour_environ(settings).items() >= some.items()
    told = server_of(settings)
    before = settings_as_before({"AGENTBUS_HOME": "/nowhere"}, told)
    assert server_of(before) == told
    assert (before.password_file, before.allow_plaintext) == (settings.password_file, False)


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("100.64.0.1", True),
        ("100.127.255.254", True),
        ("100.128.0.1", False),
        ("fd7a:115c:a1e0::1", True),
        ("10.8.0.2", True),
        ("172.31.0.1", True),
        ("172.32.0.1", False),
        ("192.168.1.1", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:8.8.8.8", False),
        ("8.8.8.8", False),
        ("2001:db8::1", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
    ],
)
def test_a_private_network_is_one_that_nobody_else_is_in(address, private):
    assert is_private(address) == private


@pytest.mark.parametrize(
    "url", ["nats://8.8.8.8:4222", "nats://[2001:db8::1]:4222", "nats://0.0.0.0"]
)
def test_plain_text_is_never_for_an_address_that_all_can_reach(saying, url):
    with pytest.raises(BadSetup, match="is in no private network and the URL is without TLS"):
        saying("allow_plaintext = true", f'url = "{url}"')


def test_an_address_that_names_an_interface_of_this_machine_is_refused(saying):
    with pytest.raises(BadSetup, match="names an interface of one machine"):
        saying('url = "tls://[fe80::1%eth0]:4222"')
