"""What a viewer loads before OpenGL."""

from __future__ import annotations

import sys
from pathlib import Path

import mujoco
import pytest

from envs.insertion.viewer import Viewer

MODEL = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")


def test_triton_is_imported_before_anything_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "triton.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "triton", None)  # so that what is imported here is forgotten again
    monkeypatch.delitem(sys.modules, "triton")
    viewer = Viewer(MODEL, 8, 8)
    assert sys.modules["triton"].__file__ == str(tmp_path / "triton.py")
    viewer.close()


def test_triton_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    Viewer(MODEL, 8, 8).close()
