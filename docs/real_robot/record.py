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
    """An episode for each seed; the row of a final state has no action, so it holds zeros."""
    observations: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    steps: list[int] = []
    for seed in seeds:
        observation, info = env.reset(seed=seed)
        over, step = False, 0
        while not over:
            observations.append(observation)
            actions.append(lowering(observation))
            steps.append(step)
            observation, _, terminated, truncated, info = env.step(actions[-1])
            over, step = terminated or truncated, step + 1
        if not info["is_success"]:
            raise RuntimeError(f"episode {seed} failed: show only what shall be learnt")
        observations.append(observation)
        actions.append(np.zeros_like(actions[-1]))
        steps.append(step)
    time_step = np.array(steps, np.int32)
    terminal = np.append(time_step[1:] == 0, True)
    return Demonstrations(
        observations=np.array(observations),
        actions=np.array(actions),
        episode=(np.cumsum(terminal) - terminal).astype(np.int32),
        time_step=time_step,
        terminal=terminal,
        dt=env.dt,
        task="PlanarArm-v0",
        origin={"made_by": "record.py", "seeds": list(seeds)},
    )


if __name__ == "__main__":
    arm = PlanarArmEnv()
    save(record(arm, range(5)), sys.argv[1])
    arm.close()
