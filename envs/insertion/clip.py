"""Clip insertion, section 4.1: an elastic clip of two barbed prongs that must flex to pass the socket's lip."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from envs.insertion.base import InsertionEnv
from envs.insertion.observation import Readings
from envs.insertion.parameters import InsertionParameters
from envs.insertion.scene import TOOL, add_box, add_floor, add_opening, add_walls

_PRONGS = {"left": -1, "right": 1}


@dataclass(frozen=True, kw_only=True)
class ClipParameters(InsertionParameters):
    """Geometry and physics of ClipInsertion-v0. Lengths in m, angles in rad.

    With these numbers each barb must give way by 2.25 mm to pass the lip.
    """

    pan_range: float = 0.8
    tilt_range: float = 0.2
    symmetry: int = 2
    success_depth: float = 0.017
    observe_forces: bool = True
    part_half_depth: float = 0.006

    # Clip
    prong_offset: float = 0.008  # of each prong's middle from the clip's axis
    prong_thickness: float = 0.003
    prong_width: float = 0.012
    prong_length: float = 0.040
    bridge_height: float = 0.020  # the part between the fingers that carries the prongs
    barb_radius: float = 0.002
    barb_overhang: float = 0.003  # beyond the prong's outer face
    rigid_prongs: bool = False  # True removes the hinges: such a clip cannot enter
    prong_stiffness: float = 1.5  # Nm/rad, at the hinge where the prong meets the bridge
    prong_damping: float = 0.03  # Nm s/rad
    prong_armature: float = 1e-4  # kg m^2
    prong_range: float = 0.35
    prong_mass: float = 0.0015  # kg
    barb_mass: float = 0.0005  # kg

    # Socket
    lip_half_gap: float = 0.01025
    lip_thickness: float = 0.005
    lip_chamfer: float = 0.0035
    cavity_half_width: float = 0.0145  # along the direction of flexing
    slot_half_width: float = 0.007  # across it
    cavity_depth: float = 0.045
    block_half_size: tuple[float, float] = (0.019, 0.0115)


class ClipInsertionEnv(InsertionEnv):
    """Success: the tip is deep enough, and both barbs have sprung out below the lip. See InsertionEnv."""

    task = "ClipInsertion-v0"
    parameters: ClipParameters

    def __init__(self, parameters: ClipParameters | None = None, **options) -> None:
        super().__init__(parameters or ClipParameters(), **options)
        self._barbs = [self.model.site(f"{side}_barb").id for side in _PRONGS]

    def _add_parts(self, spec: mujoco.MjSpec, part: mujoco.MjsBody) -> None:
        p = self.parameters
        half_thickness, half_width = p.prong_thickness / 2, p.prong_width / 2
        outer = p.prong_offset + half_thickness
        bridge_top = -p.prong_length - p.bridge_height
        add_box(
            spec, part, TOOL, (-outer, -half_width, bridge_top), (outer, half_width, -p.prong_length), material="part"
        )
        for name, side in _PRONGS.items():
            prong = part.add_body(name=name, pos=(side * p.prong_offset, 0, -p.prong_length))
            if not p.rigid_prongs:
                prong.add_joint(
                    name=name,
                    axis=(0, 1, 0),
                    range=(-p.prong_range, p.prong_range),
                    stiffness=p.prong_stiffness,
                    damping=p.prong_damping,
                    armature=p.prong_armature,
                    solref_limit=(p.contact_time_constant, 1),
                )
            add_box(
                spec,
                prong,
                TOOL,
                (-half_thickness, -half_width, 0),
                (half_thickness, half_width, p.prong_length),
                material="part",
                mass=p.prong_mass,
            )
            barb = (side * (half_thickness + p.barb_overhang - p.barb_radius), 0, p.prong_length - p.barb_radius)
            reach = half_width - p.barb_radius
            prong.add_geom(
                spec.find_default(TOOL),
                type=mujoco.mjtGeom.mjGEOM_CAPSULE,
                fromto=(barb[0], -reach, barb[2], barb[0], reach, barb[2]),
                size=(p.barb_radius, 0, 0),
                material="barb",
                mass=p.barb_mass,
            )
            # Where the barb stands out most.
            site = (barb[0] + side * p.barb_radius, 0, barb[2])
            prong.add_site(name=f"{name}_barb", pos=site, group=4, size=(0.001,) * 3)

        lip = (p.lip_half_gap, p.slot_half_width)
        add_opening(spec, p, lip, p.lip_chamfer)
        add_walls(spec, lip, p.block_half_size, -p.lip_thickness, -p.lip_chamfer)
        cavity = (p.cavity_half_width, p.slot_half_width)
        add_walls(spec, cavity, p.block_half_size, -p.cavity_depth, -p.lip_thickness)
        add_floor(spec, p.block_half_size, p.cavity_depth)

    def is_held(self, readings: Readings) -> np.ndarray:
        p = self.parameters
        held = np.ones(len(readings.positions), bool)
        for barb in self._barbs:
            x, _, z = readings.in_frame(self._mouth, barb).T
            held &= (z < -p.lip_thickness - p.barb_radius) & (np.abs(x) > p.lip_half_gap)
        return held
