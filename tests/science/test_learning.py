"""GPRIL learns the tiny task from states alone and from final states alone, because its models know the target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from methods.gpril.algorithm import Gpril
from methods.gpril.settings import Settings
from tests.methods.gpril.test_gpril import SMALL
from tests.methods.worlds import success, tiny_context
from tests.tiny import demonstrate

pytestmark = pytest.mark.science

ALONE = replace(SMALL, gamma=0.9, beta_pi=0.0, warm_start=0, exploration=0.5, exploration_steps=60.0)


@pytest.mark.parametrize("only", [{"states_alone": True}, {"final_only": True}])
def test_states_are_enough(only: dict[str, bool], tmp_path: Path) -> None:
    shown = demonstrate(10, seed=100, noise=0.3).subset(**only)

    def learnt(settings: Settings, updates: int = 1600) -> float:
        return success(Gpril(settings).fit(shown, tiny_context(tmp_path, updates, 30_000, seed=100)))

    untrained, gpril, shuffled = learnt(ALONE, 1), learnt(ALONE), learnt(replace(ALONE, control="shuffled"))
    print(f"{only}: untrained {untrained:.2f}, GPRIL {gpril:.2f}, shuffled targets {shuffled:.2f}")
    assert untrained < 0.1
    assert gpril > 0.5
    assert shuffled < gpril - 0.4
