"""DAgger (Ross et al., 2011): clone, roll out, ask the demonstrator what it would do there, clone on everything."""

from dataclasses import dataclass

import numpy as np
import torch

from methods.interface import Method, MethodError
from methods.policy import GaussianPolicy, new_network
from methods.registry import register


@dataclass(frozen=True)
class Settings:
    """Settings of DAgger.

    Attributes:
        rounds: of collecting and cloning.
        learning_rate: Adam's.
    """

    rounds: int = 4
    learning_rate: float = 1e-3


@register
class Dagger(Method):
    name = "specimen-dagger"
    Settings = Settings
    needs_expert = True
    summary = "interactive cloning"

    def fit(self, demonstrations, context):
        if context.expert is None:
            raise MethodError("DAgger queries the demonstrator, and there is no expert")
        budget, rounds = context.budget, self.settings.rounds
        observations, actions = map(list, demonstrations.pairs())
        network, batches = new_network(demonstrations, context), context.seeds.generator("batches")
        rng = context.seeds.generator("rollouts")
        policy = GaussianPolicy(network)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.settings.learning_rate)
        environment, total, done = context.make_env(), budget.policy_updates, 0
        for round_ in range(1, rounds + 1):
            states, answers = (torch.from_numpy(np.array(part, np.float32)) for part in (observations, actions))
            while done < total * round_ // rounds:
                rows = torch.from_numpy(batches.integers(len(answers), size=128))
                optimizer.zero_grad()
                (-network.log_prob(states[rows], answers[rows]).mean()).backward()
                optimizer.step()
                done += 1
                context.checkpoint(policy, done / total, done)
            if round_ == rounds:
                break
            most = min(budget.expert_queries, budget.environment_steps) * round_ // rounds
            while context.expert_queries < most:
                actor, ended = policy.actor(1), False
                actor.start([0])
                observation, _ = environment.reset(seed=int(rng.integers(2**31)))
                while not ended and context.expert_queries < most:
                    observations.append(observation)
                    actions.append(context.expert.action(environment))
                    action = actor.act(observation[None], [0], False, rng)[0]
                    observation, _, terminated, truncated, _ = environment.step(action)
                    ended = terminated or truncated
        return policy
