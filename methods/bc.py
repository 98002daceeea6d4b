"""Behavioural cloning: maximum likelihood on the demonstrated pairs, through `imitation`'s BC."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt, MinLen
from imitation.algorithms.bc import BC
from imitation.data.types import TransitionMapping
from torch import Tensor

from envs.demonstrations import Demonstrations
from methods.interface import Diverged, FitContext, Method, MethodError, State
from methods.policy import GaussianNetwork, GaussianPolicy, new_network
from methods.registry import register
from methods.sb3_policy import SharedPolicy, quiet_logger, spaces

SEARCH = {
    "learning_rate": {"low": 1e-4, "high": 3e-3, "log": True},
    "decay": {"choices": [False, True]},
    "batch_size": {"choices": [64, 256]},
    "l2": {"low": 1e-5, "high": 1e-1, "log": True},
}
"""What tuning may try: from the paper's learning rate and about its L2, 1e-4, to where cloning was seen to suffer."""
CHECKPOINT_EVERY = 100
"""Updates between two checkpoints."""
L2_WITHOUT_CHOICE = 1e-4
"""The paper's value, used by "auto" where a single episode leaves nothing to hold out."""


@dataclass(frozen=True)
class Settings:
    """Settings of BC; the defaults follow appendix B, table c, except for `l2`.

    Attributes:
        learning_rate: Adam's learning rate.
        decay: decrease the learning rate linearly to zero (a departure from the paper; without it the final policy
            varies a lot from update to update).
        batch_size: demonstrated pairs per update, sampled with replacement.
        l2: weight of half the sum of squared parameters in the loss (`imitation`'s `l2_weight`, the coupled
            `weight_decay` of torch's Adam; the paper has 1e-4). "auto" chooses the value of `l2_grid` that gives
            held-out episodes the highest likelihood, training each candidate for as many updates as the final policy,
            which then learns from all demonstrations. The candidates' updates count as gradient steps, not as policy
            updates.
        l2_grid: candidates of "auto". None exceeds 0.1, because the open-loop likelihood misleads beyond: on peg
            insertion with 10 demonstrations it prefers 1 (success rate .1) to 0.1 (success rate .5).
        held_out: fraction of the episodes held out for "auto", at least one episode.
    """

    learning_rate: Annotated[float, Gt(0.0)] = 1e-4
    decay: bool = False
    batch_size: Annotated[int, Ge(1)] = 256
    l2: Annotated[float, Ge(0.0)] | Literal["auto"] = "auto"
    l2_grid: Annotated[tuple[Annotated[float, Ge(0.0)], ...], MinLen(1)] = (1e-4, 1e-3, 1e-2, 1e-1)
    held_out: Annotated[float, Gt(0.0), Lt(1.0)] = 0.2


@dataclass(frozen=True)
class Pairs:
    """Demonstrated observations [N, O] and actions [N, A], float32."""

    observations: Tensor
    actions: Tensor

    @staticmethod
    def of(demonstrations: Demonstrations, device: str) -> Pairs:
        """All pairs of the demonstrations.

        Raises:
            MethodError: they have none.
        """
        if demonstrations.actions is None:
            raise MethodError("cloning needs demonstrated actions, and these demonstrations contain only states")
        pairs = Pairs(*(torch.tensor(part, device=device) for part in demonstrations.pairs()))
        if not len(pairs.observations):
            raise MethodError("cloning needs demonstrated actions, and these demonstrations contain only final states")
        return pairs

    def rows(self, mask: np.ndarray) -> Pairs:
        """The pairs where `mask` [N] is true."""
        chosen = torch.from_numpy(mask).to(self.actions.device)
        return Pairs(self.observations[chosen], self.actions[chosen])

    def log_likelihood(self, network: GaussianNetwork) -> float:
        """Mean log density of the actions, in nats per pair."""
        with torch.no_grad():
            return float(network.log_prob(self.observations, self.actions).mean())


AfterUpdate = Callable[[int, Callable[[], State]], None]
"""Called with the number of updates done and a function that gives the state to resume from."""


def clone(
    network: GaussianNetwork,
    pairs: Pairs,
    updates: int,
    *,
    learning_rate: float,
    l2: float,
    batch_size: int,
    rng: np.random.Generator,
    scratch: Path,
    decay: bool = False,
    after_update: AfterUpdate = lambda *_: None,
    resumed: State | None = None,
) -> None:
    """Train `network` in place by `imitation`'s BC.

    The loss is the mean of -log pi(a | s) over the batch plus l2 times half the sum of squared parameters; the entropy
    bonus is off. The policy has no critic, because `imitation` would decay the critic's weights as well.

    Args:
        network: trained in place.
        pairs: the training data; may be fewer than `batch_size`.
        updates: steps of Adam.
        learning_rate: Adam's learning rate.
        l2: see `Settings`.
        batch_size: pairs per update.
        rng: samples the batches.
        scratch: a folder for the library's logger, which writes nothing.
        decay: see `Settings`.
        after_update: called after each update.
        resumed: the state that `after_update` was offered, to resume from.
    """
    if not updates:
        return
    observation_space, action_space = spaces(network.shape)
    trainer = BC(
        observation_space=observation_space,
        action_space=action_space,
        rng=rng,
        policy=SharedPolicy(observation_space, action_space, lambda _: learning_rate, network),
        demonstrations=_Batches(pairs, batch_size, rng),
        batch_size=batch_size,
        optimizer_kwargs={"lr": learning_rate, "fused": True},
        ent_weight=0.0,
        l2_weight=l2,
        device=network.shift.device,
        custom_logger=quiet_logger(scratch),
    )
    done = 0
    if resumed is not None:
        network.load_state_dict(resumed["network"])
        trainer.optimizer.load_state_dict(resumed["optimizer"])
        rng.bit_generator.state = resumed["batches"]
        done = resumed["done"]

    def state() -> State:
        optimizer, batches = trainer.optimizer.state_dict(), rng.bit_generator.state
        return {"network": network.state_dict(), "optimizer": optimizer, "batches": batches, "done": done}

    def after() -> None:
        nonlocal done
        done += 1
        if decay:
            for group in trainer.optimizer.param_groups:
                group["lr"] = learning_rate * (1.0 - done / updates)
        after_update(done, state)

    if done == updates:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")  # imitation's own logging
        trainer.train(n_batches=updates - done, on_batch_end=after, progress_bar=False)


class _Batches(Iterable[TransitionMapping]):
    """Endless random batches in `imitation`'s format; its own data loader costs more than the update itself."""

    def __init__(self, pairs: Pairs, size: int, rng: np.random.Generator) -> None:
        self.pairs, self.size, self.rng = pairs, size, rng

    def __iter__(self) -> Iterator[TransitionMapping]:
        while True:
            rows = torch.from_numpy(self.rng.integers(len(self.pairs.actions), size=self.size))
            yield {"obs": self.pairs.observations[rows], "acts": self.pairs.actions[rows]}


@register
class BehaviouralCloning(Method):
    """Behavioural cloning; see `Settings` for its regularisation."""

    name: ClassVar[str] = "bc"
    display_name = "BC"
    Settings: ClassVar[type] = Settings
    needs_environment: ClassVar[bool] = False
    summary: ClassVar[str] = "behavioural cloning through imitation's BC, with fixed or tuned L2 regularisation"

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        pairs = Pairs.of(demonstrations, context.device)
        network = new_network(demonstrations, context)
        policy = GaussianPolicy(network)
        updates, chosen = context.budget.policy_updates, self.settings.l2
        initial: State = {
            "scores": [],
            "best": None,
            "chosen": None if chosen == "auto" else [chosen, 0],
            "clone": None,
        }
        state = context.resume() or initial
        if state["chosen"] is None:
            state["chosen"] = self._choose_l2(pairs, demonstrations, context, state)
        l2, spent = state["chosen"]  # spent: gradient steps of the candidates

        def after_update(update: int, snapshot: Callable[[], State]) -> None:
            if update % CHECKPOINT_EVERY and update != updates:
                return
            likelihood = pairs.log_likelihood(network)
            if not math.isfinite(likelihood):
                raise Diverged(f"the likelihood of the demonstrations is {likelihood} after {update} updates")
            context.report(spent + update, log_likelihood=likelihood)
            progress = (spent + update) / (spent + updates)
            context.checkpoint(policy, progress, spent + update, lambda: state | {"clone": snapshot()})

        self._train(network, pairs, l2, context, after_update, state["clone"])
        return policy

    def _choose_l2(
        self, pairs: Pairs, demonstrations: Demonstrations, context: FitContext, state: State
    ) -> tuple[float, int]:
        """The L2 weight that is best on held-out episodes, and the gradient steps spent on choosing it.

        Checkpoints show the best candidate so far, which is what a training stopped there would have, and the first
        one while there is no other. `state` (scores of the finished candidates, weights of the best one, progress of
        the next one) is updated in place.
        """
        episode = demonstrations.episode[~demonstrations.terminal]
        episodes = context.seeds.generator("held-out episodes").permutation(np.unique(episode))
        scores: list[float] = state["scores"]
        updates, grid = context.budget.policy_updates, self.settings.l2_grid if len(episodes) > 1 else ()
        size = min(max(1, round(self.settings.held_out * len(episodes))), len(episodes) - 1)
        held_out = np.isin(episode, episodes[:size])
        best = new_network(demonstrations, context)
        if state["best"] is not None:
            best.load_state_dict(state["best"])

        def checkpoint(shown: GaussianNetwork, update: int, snapshot: Callable[[], State]) -> None:
            if update % CHECKPOINT_EVERY == 0 or update == updates:
                steps = len(scores) * updates + update
                progress = steps / ((len(grid) + 1) * updates)
                context.checkpoint(GaussianPolicy(shown), progress, steps, lambda: state | {"clone": snapshot()})

        for l2 in grid[len(scores) :]:
            network = new_network(demonstrations, context)
            shown = best if scores else network
            self._train(network, pairs.rows(~held_out), l2, context, partial(checkpoint, shown), state["clone"])
            state["clone"] = None
            scores.append(pairs.rows(held_out).log_likelihood(network))
            if not math.isfinite(scores[-1]):
                raise Diverged(f"the likelihood of held-out episodes is {scores[-1]} with l2 = {l2}")
            if scores[-1] == max(scores):
                best.load_state_dict(network.state_dict())
                state["best"] = best.state_dict()
            context.report(len(scores) * updates, l2=l2, held_out_log_likelihood=scores[-1])
        chosen = max(zip(scores, grid, strict=True), key=lambda pair: pair[0])[1] if grid else L2_WITHOUT_CHOICE
        context.report(len(scores) * updates, chosen_l2=chosen)
        state["best"] = None
        return chosen, len(scores) * updates

    def _train(
        self,
        network: GaussianNetwork,
        pairs: Pairs,
        l2: float,
        context: FitContext,
        after_update: AfterUpdate,
        resumed: State | None,
    ) -> None:
        clone(
            network,
            pairs,
            context.budget.policy_updates,
            learning_rate=self.settings.learning_rate,
            l2=l2,
            batch_size=self.settings.batch_size,
            rng=context.seeds.generator("demonstrated pairs"),
            scratch=context.scratch,
            decay=self.settings.decay,
            after_update=after_update,
            resumed=resumed,
        )
