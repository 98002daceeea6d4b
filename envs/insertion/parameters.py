"""Parameters that all insertion tasks share: physics, arm, start and workspace, in SI units and radians."""

from __future__ import annotations

from dataclasses import dataclass

JOINTS = 7


@dataclass(frozen=True, kw_only=True)
class InsertionParameters:
    """Base of each task's parameters. Lengths in m, angles in rad, times in s.

    The arm's own numbers, servo gains among them, are in `assets/sawyer.xml`.
    """

    # Socket and success (a task's own numbers)
    pan_range: float  # the socket is panned by a uniform draw from +-pan_range
    tilt_range: float  # and tilted by one from +-tilt_range
    symmetry: int  # number of yaw angles in a full turn at which the part fits
    success_depth: float  # how far the tip must be below the mouth
    success_lateral: float = 0.010  # and how far it may be from the socket's axis
    observe_forces: bool = False  # whether the joints' actuator forces (Nm) are observed
    part_half_depth: float  # half the held part's size between the fingers
    tilt_axis: tuple[float, float, float] = (0.62, 0.0, 0.02)  # where pan and tilt axes meet; the arm's base is at 0
    mouth_height: float = 0.10  # of the opening above the tilt axis
    socket_half_size: float = 0.060  # faceplate, square
    plate_thickness: float = 0.010

    # Time
    control_period: float = 0.1  # one action is held for this long
    physics_period: float = 0.004
    time_limit: float = 50.0  # section 4.1

    # Action
    max_joint_velocity: float = 0.5  # rad/s, of an action of 1

    # Contact
    friction: float = 0.3
    friction_stiffness: float = 5.0  # relative to that of the normal (MuJoCo's impratio)
    contact_time_constant: float = 0.008  # MuJoCo accepts no less than two physics periods
    contact_impedance: tuple[float, float, float] = (0.95, 0.99, 0.001)

    # Start: the tip above the mouth of the un-panned socket
    start_height: float = 0.11
    start_offset: tuple[float, float, float] = (0.05, 0.05, 0.03)  # uniform, +-
    start_rotation: tuple[float, float, float] = (0.1, 0.1, 0.2)  # roll, pitch, yaw; uniform, +-
    posture: tuple[float, ...] = (-0.31, -1.237, 0.073, 1.569, -0.025, 1.239, -0.059)  # elbow up, tool down

    # Workspace of the tip; leaving it ends the episode
    workspace_low: tuple[float, float, float] = (0.40, -0.25, 0.02)
    workspace_high: tuple[float, float, float] = (0.84, 0.25, 0.45)
    workspace_lean: float = 0.9  # largest angle of the tool to the vertical

    # Hand
    tip_distance: float = 0.155  # from the hand's flange to the held part's tip
    finger_top: float = 0.061  # from the flange
    finger_bottom: float = 0.115
    finger_half_width: float = 0.009
    finger_thickness: float = 0.008

    @property
    def substeps(self) -> int:
        """Physics steps in a control period."""
        return round(self.control_period / self.physics_period)

    @property
    def horizon(self) -> int:
        """Control steps after which an episode times out."""
        return round(self.time_limit / self.control_period)
