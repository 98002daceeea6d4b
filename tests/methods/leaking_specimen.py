"""Cloning of action chunks with a mistake that is easily made: one chunk and one counter for all rows of an actor."""

import numpy as np

from methods.interface import Actor
from methods.registry import register
from tests.methods.chunk_specimen import ChunkedCloning, ChunkPolicy


class LeakingPolicy(ChunkPolicy):
    def actor(self, count):
        return LeakingActor(self)


class LeakingActor(Actor):
    """All rows plan whenever one of them starts, or a chunk is used up."""

    def __init__(self, policy):
        self.policy, self.used = policy, 0

    def start(self, rows):
        self.used = 0

    def act(self, observations, rows, deterministic, rng):
        step = self.used % self.policy.horizon
        if step == 0:
            self.chunks = self.policy.plan(observations)
        self.used += 1
        return np.clip(np.resize(self.chunks[:, step], (len(rows), 2)), -1.0, 1.0)


@register
class LeakingCloning(ChunkedCloning):
    name = "specimen-leak"
    policy = LeakingPolicy
    summary = "cloning of action chunks, wrongly"

    def fit(self, demonstrations, context):
        policy = super().fit(demonstrations, context)
        return LeakingPolicy(policy.network, policy.mean, policy.std, policy.horizon)
