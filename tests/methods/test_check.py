"""The conformance check passes the built-in methods, and finds what is wrong with broken ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from envs.demonstrations import Demonstrations
from methods import registry
from methods.check import BUDGET, examine, main
from methods.interface import Budget, FitContext, Method, MethodError, Policy

QUICK: dict[str, tuple[dict[str, Any], Budget]] = {
    "bc": ({}, Budget(0, 20)),
    "gpril": ({"policy_updates": 5}, Budget(200, 10)),
    "gail": ({"processes": 4, "batch_size": 64, "critic_batch": 128, "warm_start": 10}, Budget(600, 10)),
}
OWN = Path(__file__).parent / "own_method.py"


@pytest.mark.parametrize("name", QUICK)
def test_built_in_methods_keep_the_contract(name: str) -> None:
    values, budget = QUICK[name]
    findings = list(examine(registry.resolve(name), values, budget))
    assert len(findings) == 13 and not [finding for finding in findings if finding.problem]


def test_the_command_checks_a_file_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    good = CliRunner().invoke(main, [f"{OWN}:Follow", "--set", "gain=2.5"])
    assert good.exit_code == 0 and good.output.count("ok ") == 13, good.output
    bad = CliRunner().invoke(main, [f"{OWN}:Follow", "--set", "gain=fast"])
    assert bad.exit_code == 1 and "own-follow.gain = 'fast'" in bad.output
    unknown = CliRunner().invoke(main, ["gial"])
    assert unknown.exit_code == 2 and "did you mean 'gail'" in unknown.output
    malformed = CliRunner().invoke(main, ["bc", "--set", "gain"])
    assert malformed.exit_code == 2 and "SETTING=VALUE" in malformed.output


@dataclass(frozen=True)
class Settings:
    fault: str = ""


class Constant(Policy):
    """Always the same action, with the faults that are asked for."""

    def __init__(self, fault: str, action: np.ndarray) -> None:
        self.fault, self.action = fault, action

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        actions = np.tile(self.action, (len(observations), 1)).astype(np.float32)
        return {
            "shape": actions[0],
            "type": actions.astype(float),
            "bounds": actions + 3.0,
            "nan": actions * np.float32("nan"),
            "global": actions + 0.1 * np.random.rand(*actions.shape).astype(np.float32),
            "noisy mean": actions + 0.1 * rng.random(actions.shape, dtype=np.float32),
        }.get(self.fault, actions)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        np.save(folder / "action.npy", self.action if self.fault != "forgetful" else self.action * 0.5)
        if self.fault == "pickle":
            np.savez(folder / "more.npz", what=np.array([{"an": "object"}]))

    @classmethod
    def load(cls, folder: Path) -> Constant:
        return cls("", np.load(folder / "action.npy"))


class Faulty(Method):
    name: ClassVar[str] = "faulty"
    Settings: ClassVar[type] = Settings
    needs_environment: ClassVar[bool] = False

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> Any:
        fault = self.settings.fault
        if demonstrations.actions is None:
            if fault == "accepts states alone":
                return None
            refusal = ValueError if fault == "unclear refusal" else MethodError
            raise refusal("these demonstrations hold no actions")
        if fault == "crash":
            raise RuntimeError("out of luck")
        if fault == "nothing":
            return None
        if fault == "greedy":
            env = context.make_env()
            env.reset()
            env.step(np.zeros(2, np.float32))
        if fault == "spoils":
            torch.from_numpy(demonstrations.actions)[0] = 0.5  # which NumPy cannot prevent
        if fault != "silent":
            for progress in (0.5, 0.2 if fault == "backwards" else 1.0):
                context.checkpoint(Constant("", np.zeros(2, np.float32)), progress, 0, dict)
        action = demonstrations.actions.mean(axis=0)
        if fault == "forgets where it was" and context.resume() is not None:
            action = np.zeros(2)
        return Constant(fault, np.random.rand(2).astype(np.float32) if fault == "random" else action)


@pytest.mark.parametrize(
    ("fault", "promise", "problem"),
    [
        ("accepts states alone", "missing actions", "accepted"),
        ("unclear refusal", "missing actions", "ValueError"),
        ("crash", "it learns", "RuntimeError: out of luck"),
        ("nothing", "it learns", "fit returned NoneType"),
        ("spoils", "demonstrations are left", "actions was changed"),
        ("greedy", "the budget", "1 environment steps were used"),
        ("silent", "progress", "never called"),
        ("backwards", "progress", "went back"),
        ("shape", "actions have shape", r"shape \(2,\)"),
        ("type", "actions have shape", "float64"),
        ("bounds", "actions have shape", "leave the task's bounds"),
        ("nan", "actions have shape", "not finite"),
        ("global", "sampled actions", "use `rng` alone"),
        ("noisy mean", "sampled actions", "depend on `rng`"),
        ("random", "the same seed", "differ by"),
        ("forgets where it was", "an interrupted training", "differs from an uninterrupted one's"),
        ("forgetful", "a saved policy", "actions differ"),
        ("pickle", "saved files", "Object arrays cannot be loaded"),
    ],
)
def test_a_broken_promise_is_found(fault: str, promise: str, problem: str) -> None:
    findings = {finding.promise: finding.problem for finding in examine(Faulty, {"fault": fault}, Budget(10, 10))}
    broken = [name for name, text in findings.items() if text and name.startswith(promise)]
    assert broken, findings
    assert re.search(problem, findings[broken[0]])


def test_a_method_without_faults_but_a_lenient_loader_is_told_so() -> None:
    findings = [f for f in examine(Faulty, {}, Budget(10, 10)) if f.problem]
    assert [f.promise for f in findings] == ["a saved policy acts the same when loaded"]
    assert "FileNotFoundError" in findings[0].problem


def test_settings_must_be_a_frozen_dataclass() -> None:
    class Loose(Faulty):
        Settings: ClassVar[type] = dataclass(type("Settings", (), {"__annotations__": {"fault": str}, "fault": ""}))

    (finding,) = [f for f in examine(Loose, {}, BUDGET) if f.problem]
    assert finding.promise.startswith("settings") and "frozen" in finding.problem
