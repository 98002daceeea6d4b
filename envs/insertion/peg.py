"""Peg insertion, section 4.2: a square peg and a chamfered hole with a millimetre of clearance per side."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco

from envs.insertion.base import InsertionEnv
from envs.insertion.parameters import InsertionParameters
from envs.insertion.scene import TOOL, add_box, add_floor, add_opening, add_walls


@dataclass(frozen=True, kw_only=True)
class PegParameters(InsertionParameters):
    """Geometry and physics of PegInsertion-v0. Lengths in m, angles in rad."""

    pan_range: float = 0.4
    tilt_range: float = 0.1
    symmetry: int = 4
    success_depth: float = 0.035
    part_half_depth: float = 0.010

    peg_half_width: float = 0.010  # square
    peg_length: float = 0.060
    step_height: float = 0.002  # the tip's last millimetres are narrower and
    step_inset: float = 0.002  # set back by this much a side
    clearance: float = 0.001  # between peg and hole, a side
    hole_depth: float = 0.045
    hole_chamfer: float = 0.003
    block_half_width: float = 0.022


class PegInsertionEnv(InsertionEnv):
    """Success: the tip is deep enough in the hole and near its axis. See InsertionEnv."""

    task = "PegInsertion-v0"
    parameters: PegParameters

    def __init__(self, parameters: PegParameters | None = None, **options) -> None:
        super().__init__(parameters or PegParameters(), **options)

    def _add_parts(self, spec: mujoco.MjSpec, part: mujoco.MjsBody) -> None:
        p = self.parameters
        width, tip = p.peg_half_width, p.peg_half_width - p.step_inset
        add_box(spec, part, TOOL, (-width, -width, -p.peg_length), (width, width, -p.step_height), material="part")
        add_box(spec, part, TOOL, (-tip, -tip, -p.step_height), (tip, tip, 0), material="part")
        hole = (width + p.clearance,) * 2
        block = (p.block_half_width,) * 2
        add_opening(spec, p, hole, p.hole_chamfer)
        add_walls(spec, hole, block, -p.hole_depth, -p.hole_chamfer)
        add_floor(spec, block, p.hole_depth)
