# SPDX-License-Identifier: Apache-2.0
"""The folders of three servers that are one bus: made together, brought up to date apart."""

import shutil
import stat

import pytest
from made_server import UNITS

from mcp_agentbus.errors import BadInput, BadSetup
from mcp_agentbus.shared import authority, cluster, init
from mcp_agentbus.shared.init import Given
from mcp_agentbus.shared.server_files import Files
from mcp_agentbus.shared.server_folder import Units

_TYPED = "a.example.org, 10.0.0.7:5000,[fd00::7]:4222"
_THERE = Units("[Unit]\n# Of that machine.\n", UNITS.gate)
_NAMES = ("a.example.org", "10.0.0.7-5000", "fd00--7")


@pytest.fixture
def made(tmp_path):
    """Makes the folders as it is typed; gives the plan that was carried out."""

    def make(typed=None):
        folder = tmp_path / "bus"
        plan = cluster.planned(folder, cluster.servers(folder, typed), [UNITS] * 3)
        plan.carry_out()
        return plan

    return make


def changes(plan):
    return [change.said for each in (plan, *plan.servers) for change in each.changes]


def test_each_has_all_that_its_machine_needs_and_no_key_by_which_another_is_made(made):
    plan = made(_TYPED)
    folders = [each.files.folder for each in plan.servers]
    confs = [(folder / "nats.conf").read_text() for folder in folders]
    there = [file for file in plan.folder.rglob("*") if file.is_file()]

    assert [folder.name for folder in folders] == list(_NAMES)
    assert {stat.S_IMODE(file.stat().st_mode) for file in there} == {0o600}
    for name in ("admin.nk", "system.nk", "lobby.nk"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1
    # It may have been there before, where others have joined since.
    assert not [file for file in there if file.name == "accounts.conf"]
    assert [file for file in there if file.name == "ca.key"] == [plan.folder / "authority/ca.key"]
    assert 'listen: "0.0.0.0:5000"' in confs[1]
    assert 'routes: ["nats://a.example.org:6222", "nats://[fd00::7]:6222"]' in confs[1]
    assert 'advertise: "[fd00::7]:6222"' in confs[2]
    assert all("verify: true" in conf for conf in confs)
    for name, each in zip(("a.example.org", "10.0.0.7", "fd00::7"), plan.servers, strict=True):
        assert name in authority.about(each.files.cert.read_bytes()).names
    said = init.cluster_text(plan, dry_run=False) + str(init.cluster_data(plan))
    assert (folders[0] / "admin.nk").read_text() not in said
    assert f"tar -C {folders[2]} -c . | ssh fd00::7 " in said
    assert "10.0.0.7-5000/: new" in said
    assert changes(made()) == []


def test_on_its_machine_it_is_brought_up_to_date_for_the_places_of_that(made, tmp_path):
    plan, there = made(_TYPED), tmp_path / "elsewhere"
    shutil.copytree(plan.servers[1].files.folder, there)

    moved = init.plan(there, Given(listen="10.0.0.7:5000"), _THERE)
    moved.carry_out()

    text = init.text(moved, dry_run=False)
    conf = Files(there).conf.read_text()
    assert f'store_dir: "{there / "store"}"' in conf
    assert 'listen: "10.0.0.7:7000"' in conf
    assert str(plan.folder) not in conf
    assert "enable " in text
    assert f"agentbus server invite NAME --dir {there}" in text
    assert Files(there).joined.exists()
    assert init.plan(there, Given(), _THERE).changes == ()
    for given in ({"listen": "10.0.0.7:5001"}, {"names": ("b",)}):
        with pytest.raises(BadInput, match="is none of them"):
            init.plan(there, Given(**given), UNITS)
    with pytest.raises(BadSetup, match="authority's key is not there"):
        init.plan(there, Given(names=("10.0.0.7", "b")), UNITS)


def test_a_server_that_was_alone_gives_its_keys_and_authority_to_the_three(made, tmp_path):
    alone = init.plan(tmp_path / "bus", Given(names=("a.example.org",)), UNITS)
    alone.carry_out()
    before = [file.read_bytes() for file in (*alone.files.keys, alone.files.ca)]

    first = made(_TYPED).servers[0].files

    assert [file.read_bytes() for file in (*first.keys, first.ca)] == before


def test_what_was_interrupted_goes_on_and_one_that_changes_is_told_to_the_others(made):
    plan = made(_TYPED)
    shutil.rmtree(plan.servers[1].files.folder)
    assert {said.partition("/")[0] for said in changes(made())} == {"10.0.0.7-5000"}

    plan = made("a.example.org,10.0.0.7:5000,c.example.org")
    said = init.cluster_text(plan, dry_run=True)
    assert "c.example.org/: new" in said
    assert "a.example.org/nats.conf" in said
    assert "a.example.org/server.crt" not in said


@pytest.mark.parametrize("typed", ["a", "a,b", "a,b,c,d", "a,b,A", "a,b,c:0", "a,b,", "a,b,c d"])
def test_what_are_not_three_is_refused_before_anything_is_made(made, tmp_path, typed):
    with pytest.raises(BadInput):
        made(typed)

    assert not (tmp_path / "bus").exists()


def test_a_damaged_list_is_named_and_another_folder_left_alone(made):
    plan = made(_TYPED)
    for damaged in ("{", "5", "[1, 2, 3, 4]", '"abc"'):
        (plan.folder / "cluster.json").write_text(damaged)
        with pytest.raises(BadSetup, match=r"cluster\.json is damaged"):
            made()
    (plan.folder / "cluster.json").unlink()
    with pytest.raises(BadInput, match="holds something else"):
        made(_TYPED)
