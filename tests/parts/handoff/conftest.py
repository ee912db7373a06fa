# SPDX-License-Identifier: Apache-2.0
"""What becomes of a planner's tasks, as the tests of several of its parts have it."""

import pytest
from results_stand_in import Results


@pytest.fixture
def results(monkeypatch):
    return Results(monkeypatch)


@pytest.fixture
def outcomes(results):
    return results.outcomes
