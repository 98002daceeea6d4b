"""Pictures and a window of a simulation whose own model leaves out the purely visual parts."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from time import sleep
from typing import Any

import mujoco
import numpy as np

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class Viewer:
    """Draws a copy of a simulation on a model that also has what can only be seen; call `follow` to update it."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        """`model` differs from the simulation's in what can be seen alone."""
        _load_triton()
        self._model, self._data = model, mujoco.MjData(model)
        self._size = (height, width)
        self._state = np.empty(mujoco.mj_stateSize(model, _STATE))
        self._renderer: mujoco.Renderer | None = None
        self._viewer: Any = None

    def follow(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Copy the simulation's present state, which is not changed."""
        mujoco.mj_getState(model, data, self._state, _STATE)
        mujoco.mj_setState(self._model, self._data, self._state, _STATE)
        mujoco.mj_forward(self._model, self._data)

    def picture(self, camera: str) -> np.ndarray:
        """What a camera sees [height, width, 3] uint8. Raises RuntimeError where no picture can be drawn."""
        if self._renderer is None:
            try:
                self._renderer = mujoco.Renderer(self._model, *self._size)
            except Exception as error:  # each OpenGL library fails in its own way
                raise RuntimeError(
                    f"cannot draw pictures ({error}): without a display, set MUJOCO_GL=egl or MUJOCO_GL=osmesa first"
                ) from error
        self._renderer.update_scene(self._data, camera)
        return self._renderer.render()

    def window(self, seconds: float) -> None:
        """Show it in a window for so long, about real time."""
        if self._viewer is None:
            from mujoco import viewer  # needs a display

            self._viewer = viewer.launch_passive(self._model, self._data, show_left_ui=False, show_right_ui=False)
        self._viewer.sync()
        sleep(seconds)

    def close(self) -> None:
        """Frees the renderer and closes the window."""
        for shown in (self._renderer, self._viewer):
            if shown is not None:
                shown.close()
        self._renderer = self._viewer = None


def _load_triton() -> None:
    """Import Triton if it is installed.

    PyTorch's CUDA builds import it with the first optimizer. After Mesa's software renderer it would find Mesa's LLVM
    in place of its own, and the process would crash.
    """
    with suppress(ImportError):
        import_module("triton")
