# SPDX-License-Identifier: Apache-2.0
"""The folder of a shared server: made once, brought up to date by the same again."""

import json
import os
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from certificates import Authority
from made_server import UNITS
from mcp_agentbus.installers import server

from mcp_agentbus.core import places
from mcp_agentbus.errors import BadInput, BadSetup
from mcp_agentbus.shared import authority, init
from mcp_agentbus.shared.init import Given
from mcp_agentbus.shared.server_files import Files
from mcp_agentbus.shared.server_folder import Units

_DAY_S = 24 * 3600


@pytest.fixture
def made(tmp_path):
    """Makes the folder as it is typed; gives what was done."""

    def make(units=UNITS, **given):
        plan = init.plan(tmp_path / "server", Given(**given), units)
        plan.carry_out()
        return [change.said for change in plan.changes]

    return make


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path / "server")


def contents(files):
    return {file: file.read_bytes() for file in files.folder.rglob("*") if file.is_file()}


def test_it_is_its_users_alone_and_says_its_secret_nowhere(made, files, tmp_path):
    made(names=("bus.example.org", "10.0.0.7"), listen="10.0.0.7")
    plan = init.plan(files.folder, Given(), UNITS)
    folders = [files.folder, files.ca_key.parent, files.store]
    there = contents(files)
    secrets = [there[file] for file in (*files.keys, files.key, files.ca_key)]

    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    assert {stat.S_IMODE(file.stat().st_mode) for file in there} == {0o600}
    said = init.text(plan, dry_run=False) + str(init.data(plan)) + repr(plan.changes)
    assert not any(secret.decode().splitlines()[-1] in said for secret in secrets)
    for secret in secrets:
        assert sum(secret in content for content in there.values()) == 1
    assert 'listen: "10.0.0.7:4222"' in there[files.conf].decode()
    assert 'http: "127.0.0.1:8222"' in there[files.conf].decode()
    assert "\nmax_pending: 16MB\n" in there[files.conf].decode()
    assert "tls://bus.example.org:4222" in said


def test_where_no_systemd_answers_it_says_what_to_keep_running_by_the_programs_own_place(files):
    plan = init.plan(files.folder, Given(), UNITS)

    said = init.text(plan, dry_run=False, by_hand=Path("/opt/a b/nats-server")).splitlines()

    assert f"  '/opt/a b/nats-server' -c {files.conf}" in said
    assert f"  agentbus server gate --dir {files.folder}" in said
    [kept] = [line for line in said if "systemctl" in line]
    assert f"{files.unit} {files.gate_unit}" in kept
    assert kept.endswith("; loginctl enable-linger") is bool(os.geteuid())


def test_where_no_systemd_answers_what_runs_is_not_to_be_run_twice(made, files, elapse):
    def said():
        plan = init.plan(files.folder, Given(), UNITS)
        lines = init.text(plan, dry_run=False, by_hand=Path("/opt/nats-server"))
        plan.carry_out()
        return lines

    made(names=("a",))
    assert "See that both run:" in said()
    elapse(800 * _DAY_S)
    renewed = said()

    assert "by kill -HUP PID, or start it anew:" in renewed
    assert f"  /opt/nats-server -c {files.conf}" in renewed
    assert "server gate" not in renewed


def test_a_users_systemd_is_asked_also_where_cron_does_not_say_how_to_reach_it(
    tmp_path, monkeypatch
):
    mine, asked = tmp_path / str(os.getuid()), []
    mine.mkdir()
    monkeypatch.setattr(places, "_USERS", str(tmp_path))

    def run(argv):
        asked.append(" ".join(argv))
        return subprocess.CompletedProcess(argv, 0, "", "")

    for environ in ({}, {"XDG_RUNTIME_DIR": str(mine)}):
        assert server.is_kept(environ, run, by_root=False)
    assert server.is_kept({}, run, by_root=True)
    monkeypatch.setattr(places, "_USERS", "/nowhere")
    assert server.is_kept({}, run, by_root=False)

    assert asked == [
        f"env XDG_RUNTIME_DIR={mine} systemctl --user show-environment",
        "systemctl --user show-environment",
        "systemctl show-environment",
        "systemctl --user show-environment",
    ]


def test_nothing_is_written_before_it_is_carried_out(files):
    plan = init.plan(files.folder, Given(names=("a",)), UNITS)

    assert "server.crt: new; for a, 127.0.0.1, ::1, localhost" in init.text(plan, dry_run=True)
    assert not files.folder.exists()


def test_the_same_again_changes_nothing_and_what_was_interrupted_goes_on(made, files):
    made(names=("a",), listen="127.0.0.1:5000")
    before = contents(files)
    assert made() == []
    assert contents(files) == before

    for file in before:
        file.unlink()
        made(names=("a",), listen="127.0.0.1:5000")
        assert file.exists() or file == files.ca_key  # needed only to sign
        assert made() == []
        for other, as_before in before.items():
            other.write_bytes(as_before)
            other.chmod(0o600)


def test_a_certificate_is_renewed_in_time_and_where_its_names_change_and_keys_stay(
    made, files, elapse
):
    made(names=("a",))
    before = contents(files)

    [renamed] = [line for line in made(names=("b", "A", "b")) if "server.crt" in line]
    assert renamed.startswith("server.crt: its names have changed; for b, a, 127.0.0.1")
    elapse(790 * _DAY_S)
    assert made() == []
    elapse(10 * _DAY_S)
    [due] = made()
    assert due.startswith("server.crt: it expires on ")
    assert made() == []
    elapse(2800 * _DAY_S)  # the last one lasts no longer than its authority
    made()

    after = contents(files)
    changed = {file.name for file in before if after[file] != before[file]}
    assert changed == {"server.crt", "server.json"}
    assert (
        authority.about(after[files.cert]).expires_at <= authority.about(after[files.ca]).expires_at
    )


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"names": ("c",)}, "tls://c:4222"),
        ({"listen": "0.0.0.0:5000"}, "tls://a:5000"),
        ({"names": ("b", "a")}, ""),
        ({"listen": "127.0.0.1"}, ""),
        ({}, ""),
    ],
)
def test_what_those_do_is_said_who_have_joined_by_a_name_or_port_that_is_gone(
    made, files, given, url
):
    made(names=("a",))

    said = init.text(init.plan(files.folder, Given(**given), UNITS), dry_run=False)

    told = f"names as url, in [server] of config.toml,\n{url}, and runs agentbus listen --replace"
    assert (told in said) is bool(url)
    assert (f"agentbus server rotate NAME --dir {files.folder}" in said) is bool(url)


def test_what_was_made_by_a_clock_that_was_ahead_is_made_anew_or_said_to_be_of_no_use(
    made, files, elapse
):
    made(names=("a",))
    elapse(100 * _DAY_S)
    files.cert.unlink()
    made()
    elapse(-99 * _DAY_S)
    [early] = made()
    assert early.startswith("server.crt: it is not valid before ")
    assert made() == []

    elapse(-2 * _DAY_S)
    with pytest.raises(BadSetup, match="is not valid before ") as early:
        made()
    hint = f"clock if it is wrong (date -u); else run: rm {files.ca}; then the same;"
    assert hint in early.value.hint


def test_an_authority_whose_key_is_elsewhere_is_asked_for_only_when_it_must_sign(made, files):
    made(names=("a",))
    key = files.ca_key.read_bytes()
    files.ca_key.unlink()

    assert made() == []
    with pytest.raises(BadSetup, match=r"its names have changed\), and the authority's key is not"):
        made(names=("b",))
    files.ca_key.write_bytes(authority.new_key())
    files.ca_key.chmod(0o600)
    with pytest.raises(BadSetup, match="is not the key of"):
        made(names=("b",))
    files.ca_key.write_bytes(key)
    assert made(names=("b",)) != []


def test_who_has_joined_stays_whatever_else_is_made_anew(made, files):
    made(names=("a",))
    files.joined.write_text("A_laptop {}\n")

    changed = made(names=("b",), listen="10.0.0.7:5000", units=Units("[Unit]\n#", "[Unit]\n#"))

    assert files.joined.read_text() == "A_laptop {}\n"
    assert {said.partition(":")[0] for said in changed} == {
        "server.json", "server.crt", "nats.conf", files.unit.name, files.gate_unit.name,
    }  # fmt: skip
    assert 'include "accounts.conf"' in files.conf.read_text()
    assert "10.0.0.7" in authority.about(files.cert.read_bytes()).names


def test_where_it_listens_changes_and_what_was_added_by_hand_is_kept_beside(made, files):
    made(names=("a",))
    files.conf.write_text(files.conf.read_text() + "max_connections: 5\n")

    plan = init.plan(files.folder, Given(listen="[::1]:5222"), UNITS)
    plan.carry_out()

    assert 'listen: "[::1]:5222"' in files.conf.read_text()
    assert "max_connections: 5" in files.conf.with_name("nats.conf.before").read_text()
    assert "restart agentbus-server.service" in init.text(plan, dry_run=False)


def test_a_certificate_from_elsewhere_is_used_in_its_place(made, files, tmp_path):
    cert, key = Authority(tmp_path, "Example CA").issued("bus")
    other, _ = Authority(tmp_path, "Other CA").issued("other")

    with pytest.raises(BadSetup, match="key values mismatch"):
        made(names=("a",), cert=other, key=key)
    with pytest.raises(BadSetup, match=r"nothing\.pem cannot be read: No such file"):
        made(names=("a",), cert=tmp_path / "nothing.pem", key=key)
    with pytest.raises(BadInput, match="both files"):
        made(names=("a",), cert=cert)
    made(names=("a",), cert=cert, key=key)

    assert f'cert_file: "{cert}", key_file: "{key}"' in files.conf.read_text()
    assert not files.ca.exists()
    said = init.text(init.plan(files.folder, Given(), UNITS), dry_run=False)
    assert "ca_file" not in said
    assert "ca.crt" not in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"listen": "somewhere"}, "no address of this machine"),
        ({"listen": "10.0.0.1:0"}, "no address of this machine"),
        ({"listen": "10.0.0.1:70000"}, "no address of this machine"),
        ({"listen": "me@10.0.0.1"}, "no address of this machine"),
        ({"listen": "fe80::1%eth0"}, "no address of this machine"),
        ({"names": ("0.0.0.0",)}, "none by which others reach"),
        ({"names": ("a b",)}, "no name of a machine"),
        ({"names": ("10.0.1",)}, "no name of a machine"),
        ({"names": ("bus.example.org:4222",)}, "no name of a machine"),
        ({"names": ("x" * 64,)}, "no name of a machine"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(made, files, given, said):
    with pytest.raises(BadInput, match=said):
        made(**{"names": ("a",), **given})

    assert not files.folder.exists()


def test_another_folder_is_left_alone_and_a_damaged_one_named(made, files):
    files.folder.mkdir()
    (files.folder / "letter").touch()
    with pytest.raises(BadInput, match="holds something else"):
        made(names=("a",))
    (files.folder / "letter").unlink()

    made(names=("a",))
    files.cert.write_bytes(b"?")
    assert any("could not be read" in line for line in made())
    for file in (files.ca, *files.keys, files.key):
        before = file.read_bytes()
        file.write_bytes(b"?")
        with pytest.raises(BadSetup, match=str(file)):
            made()
        file.write_bytes(before)
    files.admin.chmod(0o644)
    with pytest.raises(BadSetup, match="open to other users"):
        made()
    files.admin.chmod(0o600)
    kept = json.loads(files.wanted.read_text())
    others = ({"host": 5}, {"host": "x"}, {"port": "x"}, {"names": 1}, {"names": ["a b"]})
    for damaged in ("[]", "{", "{}", *(json.dumps(kept | other) for other in others)):
        files.wanted.write_text(damaged)
        with pytest.raises(BadSetup, match=r"server\.json is damaged"):
            made()


def test_what_it_issues_holds_by_the_strictest_rules(made, files):
    """As Python checks from 3.13 on."""
    made(names=("bus.example.org", "fd00::7"))
    context = ssl.create_default_context(cafile=files.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.cert, files.key)

    for name, is_known in (("bus.example.org", True), ("fd00::7", True), ("other.org", False)):
        ends = [ssl.MemoryBIO() for _ in range(2)]
        here = context.wrap_bio(ends[0], ends[1], server_hostname=name)
        there = server.wrap_bio(ends[1], ends[0], server_side=True)
        assert _shakes(here, there) is is_known


def _shakes(here, there):
    for _ in range(4):
        for end in (here, there):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                return False
    return True
