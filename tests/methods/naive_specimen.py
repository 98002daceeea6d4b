"""Cloning of action chunks by somebody who did not read about actors: the chunk is kept in the policy."""

import numpy as np

from methods.interface import Policy
from methods.registry import register
from tests.methods.chunk_specimen import ChunkedCloning, ChunkPolicy


class NaivePolicy(ChunkPolicy):
    actor = Policy.actor
    used = 0

    def act(self, observations, deterministic, rng):
        if self.used % self.horizon == 0 or len(self.chunks) != len(observations):
            self.chunks, self.used = self.plan(observations), 0
        self.used += 1
        return np.clip(self.chunks[:, self.used - 1], -1.0, 1.0)


@register
class NaiveCloning(ChunkedCloning):
    name = "specimen-naive"
    policy = NaivePolicy
    summary = "cloning of action chunks, wrongly"

    def fit(self, demonstrations, context):
        policy = super().fit(demonstrations, context)
        return NaivePolicy(policy.network, policy.mean, policy.std, policy.horizon)
