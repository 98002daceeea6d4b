"""Records demonstrations on the example's arm, in the suite's format. Yours would come from teaching your arm by hand.

ARM_PORT=4700 python record.py mine.npz
"""

from __future__ import annotations

import sys

import numpy as np
from arm import HOLE, LINKS, PlanarArmEnv

from envs.demonstrations import Demonstrations, save

GAIN = 8.0  # of the way to the hole, as a fraction of the fastest action a metre


def lowering(observation: np.ndarray) -> np.ndarray:
    """The action [2] that brings the tip straight to the hole, from an observation [6]."""
    first, second = observation[0], observation[0] + observation[1]
    upper, lower = LINKS
    jacobian = np.array(
        [
            [-upper * np.sin(first) - lower * np.sin(second), -lower * np.sin(second)],
            [upper * np.cos(first) + lower * np.cos(second), lower * np.cos(second)],
        ]
    )
    return np.clip(GAIN * np.linalg.solve(jacobian, HOLE - observation[4:]), -1.0, 1.0).astype(np.float32)


def record(env: PlanarArmEnv, seeds: range) -> Demonstrations:
    """An episode for each seed: the state before each action, and the one after the last."""
    trajectories = []
    for seed in seeds:
        observation, info = env.reset(seed=seed)
        states, actions, over = [observation], list[np.ndarray](), False
        while not over:
            actions.append(lowering(observation))
            observation, _, terminated, truncated, info = env.step(actions[-1])
            states.append(observation)
            over = terminated or truncated
        if not info["is_success"]:
            raise RuntimeError(f"episode {seed} failed: show only what shall be learnt")
        trajectories.append((states, actions))
    origin = {"made_by": "record.py", "seeds": list(seeds)}
    return Demonstrations.from_trajectories(trajectories, "PlanarArm-v0", env.dt, origin)


if __name__ == "__main__":
    arm = PlanarArmEnv()
    save(record(arm, range(5)), sys.argv[1])
    arm.close()
