"""GPRIL for several seeds at once: what a seed draws and collects is its own, what is computed is computed for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from methods.cohort import Ask
from methods.gpril.algorithm import Gpril, Training, portions
from methods.gpril.replay import Episode
from methods.gpril.settings import Settings
from methods.gpril.steps import Act, Norms, Steps, UpdateModels, UpdatePolicy
from methods.interface import EnvGroup, FitContext
from methods.policy import GaussianNetwork, GaussianPolicy

if TYPE_CHECKING:
    from envs.demonstrations import Demonstrations


class GprilCohort:
    """See `methods.cohort.Cohort`. Flows of libraries have no form for several seeds: these train one by one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._places: dict[int, int] = {}
        self._trainings: list[Training] = []
        self._steps: Steps | None = None

    def fit(self, demonstrations: Demonstrations, context: FitContext, ask: Ask) -> GaussianPolicy:
        method = Gpril(self.settings)
        if self.settings.flow != "fast":
            return method.fit(demonstrations, context)
        method.check(demonstrations, context)
        training = Member(self.settings, demonstrations, context, ask)
        ask(training)
        return training.run()

    def serve(self, asked: Mapping[int, Any]) -> Mapping[int, Any]:
        """First all join. Then those that are least far, and all who ask for the same, are answered."""
        if self._steps is None:
            self._places = {number: place for place, number in enumerate(asked)}
            self._trainings = list(asked.values())
            self._steps = Steps(self._trainings)
            return dict.fromkeys(asked)
        requests = {self._places[number]: request for number, request in asked.items()}
        behind = min(requests, key=lambda place: (self._trainings[place].iterations, requests[place].rank))
        alike = {place: one for place, one in requests.items() if one.kind == requests[behind].kind}
        answers = self._steps.do(alike)
        return {number: answers[place] for number, place in self._places.items() if place in answers}


class Member(Training):
    """A training that draws for itself and leaves what is computed to the cohort."""

    def __init__(self, settings: Settings, demonstrations: Demonstrations, context: FitContext, ask: Ask) -> None:
        super().__init__(settings, demonstrations, context)
        self._ask = ask

    def update_models(self, updates: int, learning: tuple[bool, bool] = (True, True)) -> None:
        before: Norms | None = None
        for steps in portions(updates):
            norms = self._ask(self.draw_for_models(steps, learning))
            self._note(before, learning)  # of the portion before, so that a GPU has work while the host draws
            before = norms
        self._note(before, learning)

    def _note(self, norms: Norms | None, learning: tuple[bool, bool]) -> None:
        if norms:
            states, actions = (norms.of(model) if learning[model] else [] for model in (0, 1))
            self.models.note(states, actions)

    def update_policy(self, updates: int) -> None:
        bounds = [torch.from_numpy(bound)[None] for bound in self.replay.range()]
        norms = [self._ask(self.draw_for_policy(steps, bounds)) for steps in portions(updates)]
        self.gradient_norms = [norm for portion in norms for norm in portion.of()]

    def update_clone(self, updates: int) -> None:
        for steps in portions(updates):
            self._ask(self.draw_for_policy(steps))

    def draw_for_models(self, steps: int, learning: tuple[bool, bool] = (True, True)) -> UpdateModels:
        """What the seed contributes to so many steps of B^s and B^a."""
        s = self.settings
        source, target = self.replay.draw(steps * s.batch_size, s.gamma, s.cross_episodes, self.replay_rng)
        return UpdateModels(torch.from_numpy(source), torch.from_numpy(self.models.shuffled(target)), learning)

    def draw_for_policy(self, steps: int, bounds: Sequence[Tensor] = ()) -> UpdatePolicy:
        """What the seed contributes to so many steps of the policy, which count as done.

        `bounds` are those of observations that samples keep to; without them it clones.
        """
        size, pairs, predecessors = self.settings.batch_size, None, None
        if bounds:
            rows = torch.from_numpy(self.target_rng.integers(len(self.targets), size=steps * size))
            predecessors = (rows, *bounds, *self.models.noise(steps * size))
        if self.pairs is not None and (self.settings.beta_pi > 0.0 or not bounds):
            pairs = torch.from_numpy(self.pair_rng.integers(len(self.pairs[0]), size=(steps, size)))
        rates = []
        for _ in range(steps):
            rates.append(self.learning_rate())
            self.policy_steps += 1
        return UpdatePolicy(tuple(rates), pairs, predecessors)

    def _collect(self, group: EnvGroup, network: GaussianNetwork, episodes: int) -> list[Episode]:
        if network is self.network:  # a copy acts beside the training, in another thread
            network = cast(GaussianNetwork, _Asking(network, self._ask))
        return super()._collect(group, network, episodes)


class _Asking:
    """Acts as a policy's network, by asking."""

    def __init__(self, network: GaussianNetwork, ask: Ask) -> None:
        self.shape = network.shape
        self.shift = torch.empty(0)  # observations stay on the host until those of all seeds are together
        self._ask = ask

    def __call__(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        mean, sigma = self._ask(Act(observations))
        return mean, sigma
