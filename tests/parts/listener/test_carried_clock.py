# SPDX-License-Identifier: Apache-2.0
"""Whether two processes show each time alike, whatever they call the zone."""

from __future__ import annotations

import pytest

from mcp_agentbus.listener.carried import clock


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine in Berlin, with the zones of Berlin, Helsinki, Cairo and UTC."""
    local, zones = tmp_path / "localtime", tmp_path / "zones"
    zones.mkdir()
    of = {"UTC": "0", "Zulu": "0", "Berlin": "+1", "Helsinki": "+2, March", "Cairo": "+2, April"}
    for name, rules in of.items():
        (zones / name).write_text(rules)
    local.symlink_to(zones / "Berlin")
    monkeypatch.setattr(clock, "LOCAL", str(local))
    monkeypatch.setattr(clock, "ZONES", zones)
    return local


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("", "", True),
        ("", "LOCAL", True),
        ("", "Berlin", True),
        ("", ":Berlin", True),
        ("", "UTC", False),
        (":", "UTC", True),
        ("Zulu", "UTC", True),
        ("Helsinki", "Cairo", False),
        ("XYZ-5", "XYZ-5", True),
        ("XYZ-5", "XYZ-6", False),
        ("XYZ-5", "UTC", False),
        ("../localtime", "Berlin", False),
        (".", "UTC", False),
    ],
)
def test_clocks_are_the_same_whose_zones_change_alike(machine, one, other, is_same):
    pair = [str(machine) if name == "LOCAL" else name for name in (one, other)]

    assert clock.is_same(*pair) == clock.is_same(*reversed(pair)) == is_same


def test_a_machine_that_has_no_zone_of_its_own_goes_by_utc(machine):
    machine.unlink()

    assert clock.is_same("", "UTC")
    assert not clock.is_same("", "Berlin")
