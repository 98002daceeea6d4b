"""The conformance check's task for the runner; importing this module registers it."""

from __future__ import annotations

import gymnasium

from methods.conformance.point_task import HORIZON

ID = "Point-v0"

if ID not in gymnasium.registry:
    gymnasium.register(ID, entry_point="methods.conformance.point_task:PointTask", max_episode_steps=HORIZON)
