"""Rolls out a trained policy on the example's arm, one episode at a time, with deterministic actions if it has them.

ARM_PORT=4700 python roll_out.py FOLDER EPISODES [METHOD]

FOLDER is a folder of `policies/` that a trial left in its results; METHOD is your own method that trained
it, as `file.py:Class`; for the suite's methods leave it out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from arm import PlanarArmEnv

from benchmarks.trial import saved_policy
from methods.env_group import ActorSource, SingleEnvs, roll_out


def successes(env: PlanarArmEnv, policy: ActorSource, seeds: range, deterministic: bool = True) -> int:
    """How many of the episodes, one for each seed, succeed. The actor's actions are in the arm's units."""
    group, rng = SingleEnvs([env]), np.random.default_rng(0)
    how = {"action_size": 2, "width": 1, "deterministic": deterministic, "rng": rng}
    return sum(roll_out(group, policy, [seed], **how)[0].end == "success" for seed in seeds)


if __name__ == "__main__":
    folder, episodes = Path(sys.argv[1]), int(sys.argv[2])
    saved = saved_policy.load(folder, sys.argv[3:])
    arm = PlanarArmEnv()
    saved.require_fits(arm)
    done = successes(arm, saved, range(episodes), deterministic="mean" in saved.policy.modes)
    print(f"{done} of {episodes}")
    arm.close()
