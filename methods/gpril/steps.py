"""The gradient steps and roll-out passes of several trainings at once, on networks that lie side by side.

S trainings have S places. A place whose training does not take part is computed too, since shapes must not change for a
CUDA graph, but nothing of it moves. From the host comes only what seeds draw: rows of replay buffers, of which the
device has a copy, and of demonstrations; many steps' at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from torch import Tensor

from methods.gpril.adam import Adam, step_all
from methods.gpril.algorithm import Training
from methods.gpril.graph import Later, Replayed, Tensors
from methods.gpril.made import MadeStack
from methods.gpril.pool import PooledAscent, PooledPolicy
from methods.gpril.replay import Columns, take
from methods.gpril.space import ModelSpace, Units
from methods.policy import gaussian_log_prob


@dataclass(frozen=True)
class Act:
    """What a policy does where it sees `observations` [n, O]; answered by mean and sigma, [n, A] each."""

    observations: Tensor
    rank: ClassVar[int] = 1

    @property
    def kind(self) -> Hashable:
        return Act, self.observations.shape


@dataclass(frozen=True)
class UpdateModels:
    """Steps of B^s and B^a where they are `learning`; answered by the `Norms` of the gradients of either.

    Attributes:
        source, target: rows of the replay buffer, [steps * batch].
    """

    source: Tensor
    target: Tensor
    learning: tuple[bool, bool]
    rank: ClassVar[int] = 2

    @property
    def kind(self) -> Hashable:
        return UpdateModels, len(self.source)


@dataclass(frozen=True)
class UpdatePolicy:
    """A step with each of these learning rates; answered by the `Norms` of the gradients.

    Attributes:
        rates: [steps].
        pairs: rows of demonstrated pairs, [steps, batch]; None where they have no weight.
        predecessors: rows of demonstrated states [steps * batch], lowest and highest values of observations [1, O], and
            noise [steps * batch, O] and [steps * batch, A], of which their predecessors are made; None for cloning.
    """

    rates: tuple[float, ...]
    pairs: Tensor | None
    predecessors: Tensors | None

    @property
    def rank(self) -> int:
        return 0 if self.predecessors is None else 3

    @property
    def kind(self) -> Hashable:
        return UpdatePolicy, self.rates, self.pairs is None, self.predecessors is None


Request = Act | UpdateModels | UpdatePolicy
"""`rank` orders them within an iteration: cloning, roll-outs, updates of the models, of the policy. Requests of one
`kind` can be done at once."""


class Norms(NamedTuple):
    """Norms of the gradients of several steps, known to the host when it asks for them."""

    later: Later
    place: int

    def of(self, network: int = 0) -> list[float]:
        """One a step."""
        return self.later.values[network][self.place]  # type: ignore[no-any-return]


class Steps:
    """Does what trainings with equal settings and demonstrations ask for; requests and answers go by place."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        """The weights of all their networks become views of common tensors."""
        first = trainings[0]
        self._trainings, self._settings, self._size = trainings, first.settings, len(trainings)
        self._device = torch.device(first.context.device)
        self._ascents = [PooledAscent(pair) for pair in zip(*(one.models.ascents for one in trainings), strict=True)]
        self._policy = PooledPolicy([one.network for one in trainings])
        self._targets = torch.from_numpy(first.targets).to(self._device)
        self._pairs = first.pairs
        self._space = ModelSpace(self._settings, first.network)
        self._space.units = Units(*(unit.repeat(self._size, 1, 1) for unit in vars(self._space.units).values()))
        slots = self._size * first.replay.size
        columns = (torch.zeros(slots, own.shape[1], device=self._device) for own in first.replay.columns)
        self._columns: Columns = tuple(columns)  # type: ignore[assignment]  # four of them
        self._copied = [0] * self._size
        self._flows: dict[int, tuple[Flow, Flow]] = {}
        self._functions: dict[Hashable, Replayed] = {}

    def do(self, requests: Mapping[int, Any]) -> Mapping[int, Any]:
        """Do requests of one kind."""
        first = next(iter(requests.values()))
        if isinstance(first, Act):
            return self._act(requests)
        if isinstance(first, UpdateModels):
            return self._update_models(requests)
        return self._update_policy(requests)

    def _act(self, requests: Mapping[int, Act]) -> dict[int, tuple[Tensor, Tensor]]:
        batch = self._together({place: one.observations for place, one in requests.items()})
        mean, sigma = (part.cpu() for part in self._function(self._pass)(batch))
        return {place: (mean[place], sigma[place]) for place in requests}

    def _update_models(self, requests: Mapping[int, UpdateModels]) -> dict[int, Norms]:
        self._refresh(requests)
        capacity = self._trainings[0].replay.size
        rows = self._together(
            {place: torch.stack((one.source, one.target)) + place * capacity for place, one in requests.items()}
        )
        moving = tuple(tuple(place for place, one in requests.items() if one.learning[model]) for model in (0, 1))
        step = self._function(self._step_models, moving)
        norms = [step(part)[0].clone() for part in rows.split(self._settings.batch_size, -1)]
        later = Later(torch.stack(norms, -1))
        return {place: Norms(later, place) for place in requests}

    def _update_policy(self, requests: Mapping[int, UpdatePolicy]) -> dict[int, Norms]:
        self._refresh(requests)
        first = next(iter(requests.values()))
        inputs: list[Sequence[Tensor]] = [self._send(torch.tensor(first.rates)).unbind()]
        if first.predecessors is not None:
            parts = zip(*(one.predecessors or () for one in requests.values()), strict=True)
            sources = [self._together(dict(zip(requests, part, strict=True))) for part in parts]
            samples = self._function(self._imagine)(*sources)
            inputs += [part.split(self._settings.batch_size, 1) for part in samples]
        if first.pairs is not None:
            rows = {place: one.pairs for place, one in requests.items() if one.pairs is not None}
            inputs.append(self._together(rows).unbind(1))
        kinds = (first.predecessors is not None, first.pairs is not None)
        optimizers = tuple((place, self._trainings[place].optimizer) for place in requests)
        step = self._function(self._step_policy, kinds, optimizers)
        norms = [step(*parts)[0].clone() for parts in zip(*inputs, strict=True)]
        later = Later(torch.stack(norms, -1)[None])
        return {place: Norms(later, place) for place in requests}

    @torch.no_grad()
    def _pass(self, observations: Tensor) -> Tensors:
        return self._policy(observations)

    @torch.no_grad()
    def _step_models(self, moving: tuple[tuple[int, ...], tuple[int, ...]], rows: Tensor) -> Tensors:
        """A step of B^s and B^a at the `moving` places, on rows [S, 2, batch]; the norms of the gradients, [2, S]."""
        cases = self._space.cases(take(self._columns, rows[:, 0], rows[:, 1]))
        norms = [
            ascent.step(*case, places) if places else rows.new_zeros(self._size, dtype=torch.float32)
            for ascent, case, places in zip(self._ascents, cases, moving, strict=True)
        ]
        return (torch.stack(norms),)

    @torch.no_grad()
    def _imagine(self, rows: Tensor, low: Tensor, high: Tensor, *noise: Tensor) -> Tensors:
        """Predecessors from the parts of `UpdatePolicy.predecessors`, with S in front of all."""
        count = rows.shape[1]
        if count not in self._flows:  # a work space for each, since CUDA graphs go on using theirs
            states, actions = (copy.copy(ascent.stack) for ascent in self._ascents)
            self._flows[count] = _flow(states), _flow(actions)
        of_states, of_actions = noise
        targets = self._targets[rows]
        return self._space.imagine(self._flows[count], self._policy, targets, (low, high), (of_states, of_actions))

    @torch.no_grad()
    def _step_policy(
        self, kinds: tuple[bool, bool], optimizers: tuple[tuple[int, Adam], ...], rate: Tensor, *inputs: Tensor
    ) -> Tensors:
        """A step of the policies in these places on predecessors [S, batch, ...] and rows of pairs [S, batch].

        `kinds` tells which of them are among the inputs. Returns the norms of the gradients, [S].
        """
        parts = iter(inputs)
        observations, actions, weights = [], [], []
        if kinds[0]:
            observations.append(next(parts))
            actions.append(next(parts))
            weights.append(self._settings.beta_d)
        if kinds[1] and self._pairs is not None:
            rows = next(parts)
            observations.append(self._pairs[0][rows])
            actions.append(self._pairs[1][rows])
            weights.append(self._settings.beta_pi if kinds[0] else 1.0)
        with torch.enable_grad():
            mean, sigma = self._policy(torch.cat(observations, 1))
            log_prob = gaussian_log_prob(torch.cat(actions, 1), mean, sigma)
            means = (part.mean(1) for part in log_prob.split(self._settings.batch_size, 1))
            loss = -torch.stack([weight * part for weight, part in zip(weights, means, strict=True)]).sum()
            strided = torch.autograd.grad(loss, list(self._policy.parameters.values()))
        gradients = [gradient.contiguous() for gradient in strided]  # fused Adam takes them for laid out as the weights
        step_all(
            [optimizer for _, optimizer in optimizers],
            [gradient[place] for place, _ in optimizers for gradient in gradients],
            rate,
        )
        norms = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients]
        return (torch.linalg.vector_norm(torch.stack(norms), dim=0),)

    def _refresh(self, places: Iterable[int]) -> None:
        """Copy what the trainings changed by themselves: rows added to replay buffers, and units."""
        capacity = self._trainings[0].replay.size
        for place in places:
            training = self._trainings[place]
            for name, unit in vars(training.models.space.units).items():
                getattr(self._space.units, name)[place, 0] = unit
            if self._copied[place] == training.replay.written:
                continue
            self._copied[place] = training.replay.written
            slots = slice(place * capacity, place * capacity + len(training.replay))
            for mine, column in zip(self._columns, training.replay.columns, strict=True):
                mine[slots] = torch.from_numpy(column[: len(training.replay)]).to(self._device)

    def _together(self, parts: Mapping[int, Tensor]) -> Tensor:
        """Tensors of some places as one of all, [S, ...], on the device."""
        some = next(iter(parts.values()))
        whole = some.new_zeros(self._size, *some.shape)
        for place, part in parts.items():
            whole[place] = part
        return self._send(whole)

    def _send(self, tensor: Tensor) -> Tensor:
        """To the device, without waiting for it."""
        if self._device.type == "cpu" or tensor.is_cuda:
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _function(self, function: Callable[..., Tensors], *fixed: Hashable) -> Replayed:
        """A method of this class with its first arguments fixed."""
        key = (function.__name__, *fixed)
        return self._functions.setdefault(key, Replayed(partial(function, *fixed)))


def _flow(stack: MadeStack) -> Flow:
    return Flow(stack, StandardNormal([stack.layout.features]))
