"""The policy's objective (equation 12), its targets, and the readings of the paper that change them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.demonstrations import Demonstrations
from methods.gpril.algorithm import Gpril, Training
from methods.gpril.likelihood import total_norm
from methods.interface import MethodError
from methods.policy import new_network
from tests.methods.gpril.test_gpril import SMALL
from tests.methods.worlds import tiny_context
from tests.tiny import demonstrate

SHORT = replace(SMALL, warm_start=0, burn_in=0, initial_episodes=3, batch_size=32, held_out_every=0)


def training(folder: Path, shown: Demonstrations | None = None, **changes: Any) -> Training:
    """A training right after its first rollouts."""
    context = tiny_context(folder, updates=100, steps=3000)
    built = Training(replace(SHORT, **changes), demonstrate(3, 0) if shown is None else shown, context)
    built.collect_initial(context.make_env_group(3))
    return built


def policy_gradient(folder: Path, **changes: Any) -> torch.Tensor:
    """The gradient of the policy's first update, as one vector."""
    built, found = training(folder, **changes), list[torch.Tensor]()
    built.optimizer.step = lambda gradients, scale=None: found.extend(gradients)  # type: ignore[method-assign]
    built.update_policy(1)
    return torch.cat([part.flatten() for part in found])


def test_both_weights_scale_their_terms(tmp_path: Path) -> None:
    demonstrated = policy_gradient(tmp_path, beta_pi=1.0, beta_d=0.0)
    sampled = policy_gradient(tmp_path, beta_pi=0.0, beta_d=1.0)
    assert (demonstrated - sampled).norm() > 0.1 * demonstrated.norm() > 0.0
    for beta_pi, beta_d in ((2.0, 0.5), (0.3, 3.0), (1.0, 1.0)):
        both = policy_gradient(tmp_path, beta_pi=beta_pi, beta_d=beta_d)
        torch.testing.assert_close(both, beta_pi * demonstrated + beta_d * sampled, rtol=1e-4, atol=1e-5)


def test_the_demonstrated_term_is_the_mean_likelihood_of_demonstrated_actions(tmp_path: Path) -> None:
    shown, context = demonstrate(3, 0), tiny_context(tmp_path)
    observations, actions = shown.pairs()
    rows = context.seeds.generator("demonstrated pairs").integers(len(actions), size=SHORT.batch_size)
    network = new_network(shown, context)
    loss = -network.log_prob(torch.tensor(observations[rows]), torch.tensor(actions[rows])).mean()
    expected = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(network.parameters()))])
    torch.testing.assert_close(policy_gradient(tmp_path, beta_pi=1.0, beta_d=0.0), expected)


def test_a_sum_over_the_batch_is_as_many_means(tmp_path: Path) -> None:
    mean, total = (policy_gradient(tmp_path, batch_reduction=reduction) for reduction in ("mean", "sum"))
    torch.testing.assert_close(total, SHORT.batch_size * mean, rtol=1e-4, atol=1e-4)


def test_regularisation_of_the_policy_is_half_the_sum_of_squares(tmp_path: Path) -> None:
    """Without a learning signal Adam's first moment is a tenth of the regulariser's gradient."""
    built = training(tmp_path, policy_l2=0.25)
    zeros = [torch.zeros_like(parameter) for parameter in built.network.parameters()]
    before = [parameter.detach().clone() for parameter in built.network.parameters()]
    built.optimizer.step(zeros)
    for mean, parameter in zip(built.optimizer.means, before, strict=True):
        torch.testing.assert_close(10.0 * mean, 0.25 * parameter, rtol=1e-4, atol=1e-8)


def drawn_targets(built: Training) -> set[tuple[float, ...]]:
    """All demonstrated states that predecessors were sampled for in some updates."""
    found: set[tuple[float, ...]] = set()
    sample = built.models.sample_predecessors

    def watched(targets: np.ndarray, *rest: Any) -> Any:
        found.update(map(tuple, targets.tolist()))
        return sample(targets, *rest)

    built.models.sample_predecessors = watched  # type: ignore[method-assign]
    built.update_policy(40)
    return found


@pytest.mark.parametrize("only", [{}, {"every": 10, "states_alone": True}, {"final_only": True}])
@pytest.mark.parametrize("initial", [True, False])
def test_every_demonstrated_state_is_a_target(tmp_path: Path, only: dict[str, Any], initial: bool) -> None:
    """Final states too, although they have no action; initial ones unless the setting leaves them out."""
    shown = demonstrate(3, 0).subset(**only)
    beta_pi = 0.0 if only else 1.0
    found = drawn_targets(training(tmp_path, shown, beta_pi=beta_pi, initial_targets=initial))
    wanted = shown.observations[shown.terminal | (shown.time_step > 0) | initial]
    assert found == set(map(tuple, wanted.tolist()))
    assert set(map(tuple, shown.observations[shown.terminal].tolist())) <= found


def test_initial_states_alone_are_refused_as_targets(tmp_path: Path) -> None:
    first = demonstrate(3, 0).subset(final_only=True)
    first = replace(first, time_step=np.zeros_like(first.time_step))
    with pytest.raises(MethodError, match="initial_targets=true"):
        Gpril(replace(SHORT, beta_pi=0.0, initial_targets=False)).fit(first, tiny_context(tmp_path, 10, 3000))


@pytest.mark.parametrize("flow", ["fast", "nflows"])
def test_models_sum_their_batch_if_asked(tmp_path: Path, flow: str) -> None:
    """The gradient of the first update is the batch size times as large."""
    norms = {}
    for reduction in ("mean", "sum"):
        built = training(tmp_path, batch_reduction=reduction, gradient_clip=1e9, flow=flow)
        built.update_models(1)
        norms[reduction] = built.models.take_gradient_norms()
    for name, (mean,) in norms["mean"].items():
        assert norms["sum"][name] == pytest.approx([SHORT.batch_size * mean], rel=1e-4)


@pytest.mark.parametrize("flow", ["fast", "nflows"])
def test_l2_does_not_grow_with_a_summed_batch(tmp_path: Path, flow: str) -> None:
    """Adam's first moment after one step is a tenth of (sum of the batch's gradients + l2 w)."""
    moments = {}
    for l2 in (0.0, 0.5):
        built = training(tmp_path, batch_reduction="sum", gradient_clip=1e9, model_l2=l2, flow=flow)
        weights = [parameter.detach().clone() for parameter in built.models.states.parameters()]
        built.update_models(1)
        moments[l2] = built.models.trainers[0].adam.means
    for plain, regularised, weight in zip(moments[0.0], moments[0.5], weights, strict=True):
        scale = float(total_norm([plain]))
        torch.testing.assert_close(10.0 * (regularised - plain), 0.5 * weight, rtol=1e-3, atol=1e-5 * (1.0 + scale))


def test_the_burn_in_collects_if_asked(tmp_path: Path) -> None:
    """Three rollouts before each portion of the burn-in but the first, which has the initial ones."""
    episodes = {}
    for collects in (False, True):
        settings = replace(SHORT, model_updates=5, burn_in=17, episodes_per_iteration=3, burn_in_collects=collects)
        context = tiny_context(tmp_path, 40, 3000)
        Gpril(settings).fit(demonstrate(3, 0), context)
        episodes[collects] = context.episodes
    assert episodes == {False: 3, True: 3 + 3 * 3}


def test_sigma_bounds_are_the_policys(tmp_path: Path) -> None:
    built = training(tmp_path, sigma_bounds=(0.02, 0.2))
    with torch.no_grad():
        sigma = built.network(torch.tensor(built.targets))[1]
    assert float(sigma.mean()) == pytest.approx(0.11, abs=0.01)
    assert built.network.shape.sigma_bounds == (0.02, 0.2)


@pytest.mark.parametrize("changes", [{"control": "self"}, {"residual_actions": True}])
def test_samples_that_depend_on_the_policy_are_drawn_batch_by_batch(tmp_path: Path, changes: dict[str, Any]) -> None:
    """All of them with the policy as it is when they are learnt from; others are drawn several at once."""

    def sizes(built: Training) -> list[int]:
        found, sample = list[int](), built.models.sample_predecessors

        def watched(targets: np.ndarray, *rest: Any) -> Any:
            found.append(len(targets))
            return sample(targets, *rest)

        built.models.sample_predecessors = watched  # type: ignore[method-assign]
        built.update_policy(5)
        return found

    assert sizes(training(tmp_path, **changes)) == [SHORT.batch_size] * 5
    assert sizes(training(tmp_path)) == [5 * SHORT.batch_size]
