"""Puts a task's parts into the scene and compiles it."""

from __future__ import annotations

from importlib import resources

import mujoco
import numpy as np

from envs.insertion.parameters import InsertionParameters

TOOL, SOCKET = "tool", "socket"  # collision groups: parts of one touch parts of the other, nothing else collides
BOX = mujoco.mjtGeom.mjGEOM_BOX
# An opening's four sides as (axis, sign, material): one is clear, so that pictures show what happens inside.
_SIDES = ((0, 1, "socket"), (0, -1, "socket"), (1, 1, "socket"), (1, -1, "window"))


def load_scene(parameters: InsertionParameters) -> mujoco.MjSpec:
    """The scene of `assets/`: table, pan-tilt unit, cameras and the bare arm."""
    with resources.as_file(resources.files("envs") / "assets") as folder:
        spec = mujoco.MjSpec.from_file(str(folder / "scene.xml"))
    x, y, z = parameters.tilt_axis
    spec.body("pan").pos = (x, y, 0)
    spec.body("tilt").pos = (x, y, z)
    spec.site("mouth").pos = (0, 0, parameters.mouth_height)
    return spec


def add_box(
    spec: mujoco.MjSpec, body: mujoco.MjsBody, group: str, low: tuple[float, ...], high: tuple[float, ...], **attributes
) -> mujoco.MjsGeom:
    """A box between the corners `low` and `high` (m, in the body's frame) in a collision group."""
    corner, opposite = np.asarray(low), np.asarray(high)
    return body.add_geom(
        spec.find_default(group), type=BOX, pos=(corner + opposite) / 2, size=(opposite - corner) / 2, **attributes
    )


def add_hand(spec: mujoco.MjSpec, parameters: InsertionParameters) -> mujoco.MjsBody:
    """Adds the two fingers and the body of the held part, whose origin is its tip, with z pointing out of the hand."""
    hand = spec.body("hand")
    width, inner = parameters.finger_half_width, parameters.part_half_depth
    outer = inner + parameters.finger_thickness
    top, bottom = parameters.finger_top, parameters.finger_bottom
    for low, high in ((inner, outer), (-outer, -inner)):
        add_box(spec, hand, TOOL, (-width, low, top), (width, high, bottom), material="metal")
    part = hand.add_body(name="part", pos=(0, 0, parameters.tip_distance))
    part.add_site(name="tip", group=4, size=(0.001,) * 3)
    return part


def add_opening(
    spec: mujoco.MjSpec, parameters: InsertionParameters, half: tuple[float, float], chamfer: float
) -> None:
    """Adds the faceplate with a rectangular opening whose upper edge is chamfered.

    `half` is the opening's half size (x, y) below the chamfer, which is `chamfer` wide and deep (45 degrees). In m.
    """
    edge = (half[0] + chamfer, half[1] + chamfer)
    add_walls(spec, edge, (parameters.socket_half_size,) * 2, -parameters.plate_thickness, 0.0)
    tilt, mouth = spec.body("tilt"), spec.site("mouth").pos[2]
    thickness = chamfer / 2
    for axis, sign, material in _SIDES:
        # A flat bar leaning by 45 degrees whose upper face joins the plate's edge to the wall's.
        inset = thickness / 2 / np.sqrt(2)
        position = np.zeros(3)
        position[axis] = sign * (half[axis] + chamfer / 2 + inset)
        position[2] = mouth - chamfer / 2 - inset
        turn = np.array([np.cos(np.pi / 8), 0.0, 0.0, 0.0])
        turn[2 - axis] = np.sin(np.pi / 8) * (-sign if axis == 0 else sign)
        size = np.full(3, edge[1 - axis])
        size[axis], size[2] = chamfer / np.sqrt(2), thickness / 2
        tilt.add_geom(spec.find_default(SOCKET), type=BOX, pos=position, size=size, quat=turn, material=material)


def add_walls(
    spec: mujoco.MjSpec, inner: tuple[float, float], outer: tuple[float, float], low: float, high: float
) -> None:
    """Adds four walls between two rectangles of half sizes `inner` and `outer` (x, y), from `low` to `high` (m).

    Heights are relative to the mouth.
    """
    tilt, mouth = spec.body("tilt"), spec.site("mouth").pos[2]
    for axis, sign, material in _SIDES:
        across = outer[1] if axis == 0 else inner[0]
        corners = np.array([[sign * inner[axis], -across, mouth + low], [sign * outer[axis], across, mouth + high]])
        if axis == 1:
            corners[:, :2] = corners[:, 1::-1]
        add_box(spec, tilt, SOCKET, corners.min(axis=0), corners.max(axis=0), material=material)


def add_floor(spec: mujoco.MjSpec, half: tuple[float, float], depth: float) -> None:
    """Closes the socket `depth` below the mouth with a floor of half size `half` (x, y), 3 mm thick. In m."""
    top = spec.site("mouth").pos[2] - depth
    add_box(spec, spec.body("tilt"), SOCKET, (-half[0], -half[1], top - 0.003), (half[0], half[1], top))


def compile_scene(spec: mujoco.MjSpec, parameters: InsertionParameters, visual: bool) -> mujoco.MjModel:
    """Compiles the scene with the task's physics period, velocity limit and contact parameters.

    visual: whether it keeps what can only be seen; the physics is the same to the last bit, and faster, without.
    """
    spec.compiler.discardvisual = not visual
    spec.option.timestep = parameters.physics_period
    spec.option.impratio = parameters.friction_stiffness
    for actuator in spec.actuators:
        actuator.ctrlrange = (-parameters.max_joint_velocity, parameters.max_joint_velocity)
    for geom in spec.geoms:
        if geom.contype:
            geom.condim = 3
            geom.friction[0] = parameters.friction
            geom.solref = (parameters.contact_time_constant, 1)
            geom.solimp[:3] = parameters.contact_impedance
    return spec.compile()
