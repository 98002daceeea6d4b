"""Tasks that cannot be shown, or made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from envs import tasks


class Own(gymnasium.Env[np.ndarray, np.ndarray]):
    """Says only in its constructor that it can draw."""

    def __init__(self, render_mode: str | None = None) -> None:
        self.metadata = {"render_modes": ["rgb_array"]}
        self.render_mode = render_mode


class Blind(gymnasium.Env[np.ndarray, np.ndarray]):
    """Knows nothing of render modes."""


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    for kind in (Own, Blind):
        gymnasium.register(f"{kind.__name__}-v0", kind)
    yield
    for kind in (Own, Blind):
        del gymnasium.registry[f"{kind.__name__}-v0"]


@pytest.mark.filterwarnings("error")
def test_a_task_may_say_in_its_constructor_that_it_draws() -> None:
    assert tasks.make("Own-v0", render_mode="rgb_array").unwrapped.render_mode == "rgb_array"
    assert tasks.make("ClipInsertion-v0", render_mode="rgb_array_list").spec is not None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "mode"), [("Blind-v0", "rgb_array"), ("Blind-v0", "human"), ("Own-v0", "ansi")])
def test_a_task_that_cannot_draw_itself_is_refused(name: str, mode: str) -> None:
    with pytest.raises(tasks.TaskError, match=f"^{name} cannot draw itself: its metadata has no render mode '{mode}'"):
        tasks.make(name, render_mode=mode)


@pytest.mark.parametrize("options", [{}, {"render_mode": "rgb_array"}])
def test_a_module_that_exits_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    (tmp_path / "leaving_module.py").write_text("import sys\nsys.exit('bye')\n")
    monkeypatch.syspath_prepend(tmp_path)
    gymnasium.register("Leaving-v0", "leaving_module:Env")
    try:
        with pytest.raises(tasks.TaskError, match="SystemExit: bye"):
            tasks.make("Leaving-v0", **options)
    finally:
        del gymnasium.registry["Leaving-v0"]
