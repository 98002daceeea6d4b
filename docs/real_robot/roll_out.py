"""Rolls out a trained policy on the example's arm, one episode after the other, by its mean actions.

ARM_PORT=4700 python roll_out.py FOLDER EPISODES, with a folder of `policies/` that a trial left in its results
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from arm import PlanarArmEnv

from methods.interface import Policy
from methods.policy import GaussianPolicy


def roll_out(env: PlanarArmEnv, policy: Policy, seeds: range) -> int:
    """How many of the episodes, one for each seed, succeed."""
    rng = np.random.default_rng(0)
    successes = 0
    for seed in seeds:
        observation, info = env.reset(seed=seed)
        over = False
        while not over:
            (action,) = policy.act(observation[None], deterministic=True, rng=rng)
            observation, _, terminated, truncated, info = env.step(action)
            over = terminated or truncated
        successes += info["is_success"]
    return successes


if __name__ == "__main__":
    folder, episodes = Path(sys.argv[1]), int(sys.argv[2])
    arm = PlanarArmEnv()
    print(f"{roll_out(arm, GaussianPolicy.load(folder), range(episodes))} of {episodes}")
    arm.close()
