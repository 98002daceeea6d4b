"""GPRIL's cohort: seeds that train at once learn what each learns alone, and do not depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from methods.check_task import CheckContext, Interrupted
from methods.cohort import Ask, take_turns
from methods.gpril import steps
from methods.gpril.algorithm import Gpril
from methods.gpril.cohort import GprilCohort
from methods.gpril.settings import Settings
from methods.interface import Diverged, MethodError
from methods.policy import GaussianPolicy
from tests.methods.test_gpril import SMALL
from tests.methods.worlds import tiny_context
from tests.tiny import demonstrate

SEEDS = 2
SHORT = replace(
    SMALL,
    batch_size=128,
    warm_start=20,
    burn_in=20,
    model_updates=20,
    policy_updates=20,
    model_learning_rate=3e-4,
    initial_episodes=5,
    episodes_per_iteration=3,
)
UPDATES, STEPS = 80, 2000
TOLERANCE = 1e-5
"""Largest difference of any weight of a policy after a whole training. Products of several networks round differently
than those of one, by 1e-7 of a weight. How much training amplifies that is a matter of the models: with a learning rate
of 2e-3, at which they become as sharp as their floor lets them, it is 1e-2, as by any other change of rounding."""

SHOWN = demonstrate(2, 0, noise=0.3)
Outcome = GaussianPolicy | Exception


def together(settings: Settings, contexts: Sequence[CheckContext]) -> list[Outcome]:
    cohort = GprilCohort(settings)

    def run(context: CheckContext, ask: Ask) -> Outcome:
        try:
            return cohort.fit(SHOWN, context, ask)
        except (Diverged, Interrupted) as problem:
            return problem

    return take_turns([partial(run, context) for context in contexts], cohort.serve)


def contexts(scratch: Path, seeds: int = SEEDS) -> list[CheckContext]:
    return [tiny_context(scratch, UPDATES, STEPS, seed) for seed in range(seeds)]


def weights(policy: Outcome) -> torch.Tensor:
    assert isinstance(policy, GaussianPolicy), policy
    return torch.cat([tensor.detach().flatten() for tensor in policy.network.state_dict().values()])


VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "early stopping, decay": {"model_patience": 1, "held_out_every": 3, "policy_decay": True, "reset_sigma": 0.05},
    "placebo": {"control": "shuffled", "compress": 1.0, "gradient_clip": 0.5},
    "self-imitation, overlap": {"control": "self", "overlap": True, "cross_episodes": True},
    "residual actions": {"residual_actions": True, "exploration": 0.1, "clip_samples": False, "policy_l2": 1e-3},
    "states alone": {"beta_pi": 0.0, "warm_start": 0, "displacement": False, "scale_actions": False},
    "cloning": {"beta_d": 0.0},
    "library's flow": {"flow": "nflows"},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=list(VARIANTS))
def test_each_seed_learns_what_it_learns_alone(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = replace(SHORT, **changes)
    ours, alone = contexts(tmp_path), contexts(tmp_path)
    policies = together(settings, ours)
    expected = [Gpril(settings).fit(SHOWN, context) for context in alone]
    for mine, theirs in zip(policies, expected, strict=True):
        assert (weights(mine) - weights(theirs)).abs().max() < TOLERANCE
    assert (weights(policies[0]) - weights(policies[1])).abs().max() > 100 * TOLERANCE, "the seeds differ"
    for mine, theirs in zip(ours, alone, strict=True):
        assert mine.counts == theirs.counts
        assert mine.checkpoints == theirs.checkpoints
        for (step, reported), (its_step, its) in zip(mine.reports, theirs.reports, strict=True):
            assert step == its_step
            assert reported == pytest.approx(its, rel=1e-2, abs=1e-3)


def test_a_seed_that_diverges_leaves_the_others_alone(tmp_path: Path) -> None:
    """Seed 1 sees observations that are not finite in its second iteration."""
    whole, ours = together(SHORT, contexts(tmp_path, 3)), contexts(tmp_path, 3)
    spoilt = ours[1].make_env_group

    def make_env_group(count: int) -> Any:
        group, episodes = spoilt(count), iter(range(1000))
        reset = group.reset

        def later_not_finite(seeds: Sequence[int], rows: Sequence[int]) -> Any:
            return reset(seeds, rows) * (float("nan") if next(episodes) else 1.0)

        group.reset = later_not_finite
        return group

    ours[1].make_env_group = make_env_group  # type: ignore[method-assign]
    policies = together(SHORT, ours)
    assert isinstance(policies[1], Diverged)
    for seed in (0, 2):
        assert torch.equal(weights(policies[seed]), weights(whole[seed]))


def test_an_interrupted_cohort_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, broken = together(SHORT, contexts(tmp_path)), contexts(tmp_path)
    for context in broken:
        context._interrupt = 4
    assert all(isinstance(outcome, Interrupted) for outcome in together(SHORT, broken))
    resumed = contexts(tmp_path)
    for context, before in zip(resumed, broken, strict=True):
        context._after = before
    for mine, theirs in zip(together(SHORT, resumed), whole, strict=True):
        assert torch.equal(weights(mine), weights(theirs))


def test_what_is_computed_is_computed_for_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[type, int]] = []
    do = steps.Steps.do

    def watched(self: steps.Steps, requests: Mapping[int, Any]) -> Mapping[int, Any]:
        seen.append((type(next(iter(requests.values()))), len(requests)))
        return do(self, requests)

    monkeypatch.setattr(steps.Steps, "do", watched)
    together(SHORT, contexts(tmp_path))
    for kind in (steps.Act, steps.UpdateModels, steps.UpdatePolicy):
        assert [count for one, count in seen if one is kind].count(SEEDS) > 5
    assert all(count == SEEDS for one, count in seen if one is not steps.Act), "only roll-outs differ in length"


def test_settings_that_do_not_suit_are_told_as_ever(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="less than one episode"):
        together(SHORT, [tiny_context(tmp_path, 40, 10)])


def test_turns_do_not_depend_on_timing_and_an_answer_may_be_an_exception() -> None:
    log: list[str] = []

    def run(name: str, questions: int, ask: Ask) -> str:
        for question in range(questions):
            log.append(f"{name}{question}")
            try:
                assert ask(question) == 10 * question
            except KeyError:
                return f"{name} had no answer"
        return f"{name} ended"

    def serve(asked: Mapping[int, Any]) -> Mapping[int, Any]:
        least = min(asked.values())
        if least == 2:
            raise KeyError(least)
        return {number: 10 * question for number, question in asked.items() if question == least}

    assert take_turns([partial(run, "a", 2), partial(run, "b", 4)], serve) == ["a ended", "b had no answer"]
    assert log == ["a0", "b0", "a1", "b1", "b2"]


def test_what_goes_wrong_in_a_run_is_raised_when_all_have_ended() -> None:
    ended = []

    def run(fails: bool, ask: Ask) -> None:
        ask(None)
        if fails:
            raise ValueError("as it is")
        ended.append(True)

    with pytest.raises(ValueError, match="as it is"):
        take_turns([partial(run, True), partial(run, False)], lambda asked: asked)
    assert ended == [True]
