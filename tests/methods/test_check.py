"""The conformance check passes methods that keep the contract, and finds what is wrong with those that do not."""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from time import process_time
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from stable_baselines3.common.vec_env import SubprocVecEnv

from envs.demonstrations import Demonstrations
from methods import registry
from methods.check import main
from methods.conformance.checks import check_method
from methods.interface import Actor, Budget, FitContext, Method, MethodError, Policy

HERE = Path(__file__).parent
KEPT = ["own_method.py:Follow", "../../docs/examples/gru.py:Gru"] + [
    f"{name}_specimen.py:{kind}" for name, kind in (("knn", "Knn"), ("chunk", "ChunkedCloning"), ("dagger", "Dagger"))
]
PROMISES = 20
SMALL = Budget(environment_steps=600, policy_updates=20, expert_queries=50)


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def problems(method: type[Method], values: dict[str, Any] | None = None) -> dict[str, str]:
    """What is wrong with a method, by promise."""
    return {result.promise: result.problem for result in check_method(method, values, SMALL) if result.problem}


@pytest.mark.parametrize("name", [*registry.BUILT_IN, *(f"{HERE / place}" for place in KEPT)])
def test_methods_that_keep_the_contract_pass(name: str) -> None:
    results = list(check_method(registry.resolve(name), {}, SMALL))
    assert len(results) == PROMISES and not [result for result in results if result.problem]


@pytest.mark.parametrize(
    ("name", "promise", "words"),
    [
        ("leaking_specimen.py:LeakingCloning", "what happens in a row", "keep the memory of each row apart"),
        ("naive_specimen.py:NaiveCloning", "acting changes neither", "keep the memory of an episode in an Actor"),
        ("naive_specimen.py:NaiveCloning", "actions depend on", r"implement actor\(count\)"),
    ],
)
def test_memory_that_leaks_is_found(name: str, promise: str, words: str) -> None:
    found = problems(registry.resolve(f"{HERE / name}"))
    assert re.search(words, next(text for key, text in found.items() if key.startswith(promise))), found


def test_the_command_checks_a_file_of_the_user() -> None:
    good = CliRunner().invoke(main, [f"{HERE / 'own_method.py'}:Follow", "--set", "gain=0.5"])
    assert good.exit_code == 0 and good.output.count("ok  ") == PROMISES, good.output
    bad = CliRunner().invoke(main, [f"{HERE / 'own_method.py'}:Follow", "--set", "gain=fast"])
    assert bad.exit_code == 1 and "own-follow.gain = 'fast'" in bad.output
    unknown = CliRunner().invoke(main, ["gial"])
    assert unknown.exit_code == 2 and "did you mean 'gail'" in unknown.output
    malformed = CliRunner().invoke(main, ["bc", "--set", "gain"])
    assert malformed.exit_code == 2 and "SETTING=VALUE" in malformed.output
    for arguments in ([], ["bc", "--task", "clip"], ["bc", "--demonstrations", "x.npz"]):
        assert CliRunner().invoke(main, arguments).exit_code == 2


@dataclass(frozen=True)
class Settings:
    fault: str = ""


class Constant(Policy):
    """Always the same action, with the faults that are asked for."""

    def __init__(self, fault: str, action: np.ndarray) -> None:
        self.fault, self.action, self.calls, self.seen = fault, action, 0.0, torch.zeros(2)
        if fault == "string":
            self.modes = "mean"  # type: ignore[misc, assignment]
        if fault == "unknown mode":
            self.modes = ("deterministic",)  # type: ignore[misc, assignment]
        if fault == "one mode":
            self.modes = ("sampled",)  # type: ignore[misc]

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        actions = np.tile(self.action, (len(observations), 1)).astype(np.float32)
        noise = rng.random(actions.shape, dtype=np.float32)
        if self.fault == "one mode" and deterministic:
            raise NotImplementedError
        if self.fault == "changes observations":
            observations -= 1.0
        if self.fault == "counts":
            self.calls += 1
        if self.fault == "scratch":
            self.calls = float(observations.sum())  # overwritten by each call, as libraries keep their last result
        if self.fault == "statistics":
            self.seen += torch.from_numpy(observations[:, :2]).mean(0)
        if self.fault == "global":
            actions += 0.1 * np.random.rand(*actions.shape).astype(np.float32)
        if self.fault == "seeds":
            torch.manual_seed(int(rng.integers(100)))
        return {
            "shape": actions[0],
            "type": actions.astype(float),
            "list": actions.tolist(),
            "tensor": torch.from_numpy(actions),
            "bounds": actions + 3.0,
            "nan": actions * np.float32("nan"),
            "noisy mean": actions + 0.1 * noise,
            "one mode": actions + 0.1 * noise,
            "batch": actions + 0.1 * np.tanh(observations.mean()),
        }.get(self.fault, actions)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        np.save(folder / "action.npy", self.action if self.fault != "forgetful" else self.action * 0.5)
        (folder / "fault.json").write_text(json.dumps(self.fault))
        if self.fault == "pickle":
            np.savez(folder / "more.npz", what=np.array([{"an": "object"}]))
        if self.fault == "torch":
            torch.save(self.seen, folder / "more.pt")

    @classmethod
    def load(cls, folder: Path) -> Policy:
        try:
            fault = json.loads((folder / "fault.json").read_text())
            return (Remembering if fault in MEMORY else cls)(fault, np.load(folder / "action.npy"))
        except OSError as error:
            raise MethodError(f"{folder}: {error}") from None


class Remembering(Constant):
    """Sums the observations of each row, with mistakes of memory."""

    def actor(self, count: int) -> Actor:
        return _Sums(self, count)


class _Sums(Actor):
    def __init__(self, policy: Remembering, count: int) -> None:
        self.policy, self.sums = policy, policy.__dict__.setdefault("sums", {}) if policy.fault == "shared" else {}

    def start(self, rows: Any) -> None:
        if self.policy.fault == "start forgets all":
            self.sums.clear()
        if self.policy.fault != "start forgets nothing":
            self.sums |= dict.fromkeys(rows, 0.0)

    def act(self, observations: np.ndarray, rows: Any, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        places = range(len(rows)) if self.policy.fault == "by place" else rows
        for place, observation in zip(places, observations, strict=True):
            self.sums[place] = self.sums.get(place, 0.0) + observation.sum()
        sums = np.array([self.sums[place] for place in places])
        return np.tile(np.tanh(0.1 * sums)[:, None], (1, 2)).astype(np.float32)


MEMORY = ("start forgets nothing", "start forgets all", "by place", "shared", "memory")


class Faulty(Method):
    name: ClassVar[str] = "faulty"
    Settings: ClassVar[type] = Settings
    needs_environment: ClassVar[bool] = False
    policy: ClassVar[type[Policy] | None] = Constant

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> Any:
        fault = self.settings.fault
        kind = Remembering if fault in MEMORY else Constant
        if demonstrations.actions is None:
            if fault == "accepts states alone":
                return None
            refusal = ValueError if fault == "unclear refusal" else MethodError
            raise refusal("these demonstrations hold no actions")
        if fault == "crash":
            raise RuntimeError("out of luck")
        if fault == "exit":
            raise SystemExit("usage: ...")
        if fault == "nothing":
            return None
        if fault in ("greedy", "spends too much"):
            env = context.make_env()
            env.reset()
            for _ in range(1 if fault == "greedy" else context.budget.environment_steps + 1):
                if sum(env.step(np.zeros(2, np.float32))[2:4]):
                    env.reset()
        if fault == "slow":
            until = process_time() + 3.2
            while process_time() < until:
                np.linalg.svd(np.eye(50))
        if fault == "spoils":
            torch.from_numpy(demonstrations.actions)[0] = 0.5  # which NumPy cannot prevent
        if fault == "asks":
            context.expert.action(context.make_env())  # type: ignore[union-attr]
        if fault == "other processes":
            envs = SubprocVecEnv([context.make_env] * 2, start_method="fork")
            envs.reset()
            envs.step(np.zeros((2, 2), np.float32))
        action = demonstrations.actions.mean(axis=0)
        if fault not in ("silent", "crash"):
            shown: Any = Constant("nan", action) if fault == "bad checkpoint" else kind(fault, action)
            steps: Any = {"numpy": np.int64(5), "whole float": 5.0, "half": 2.5, "text": "5"}.get(fault, 0)
            for progress in (0.5, 0.2 if fault == "backwards" else 7.0 if fault == "percent" else np.float32(1.0)):
                try:
                    progress = 1.0 if fault in ("late", "slow") else progress
                    context.checkpoint(shown, progress, 50 if fault in ("late", "slow") else steps, dict)
                except Exception:
                    if fault != "catches all":
                        raise
        if fault == "forgets where it was" and context.resume() is not None:
            action = np.zeros(2)
        return kind(fault, np.random.rand(2).astype(np.float32) if fault == "random" else action)


@pytest.mark.parametrize(
    ("fault", "promise", "problem"),
    [
        ("accepts states alone", "demonstrations with states only", "accepted"),
        ("unclear refusal", "demonstrations with states only", "ValueError.*raise MethodError"),
        ("crash", "it trains", "RuntimeError: out of luck"),
        ("exit", "it trains", "SystemExit"),
        ("nothing", "it trains", "fit returned a NoneType"),
        ("asks", "it trains", "needs_expert = True"),
        ("spends too much", "it trains", "BudgetExceeded.*stop when"),
        ("other processes", "it trains", "another process.*make_vector_env"),
        ("half", "it trains", "gradient_steps is 2.5, but a whole number"),
        ("text", "it trains", "gradient_steps is '5', but a number"),
        ("spoils", "demonstrations are not", "changed demonstrations.actions"),
        ("greedy", "environment steps", "1 environment steps were used; set needs_environment"),
        ("silent", "context.checkpoint", "never called"),
        ("backwards", "context.checkpoint", "decreased"),
        ("percent", "context.checkpoint", "fraction done"),
        ("slow", "context.checkpoint", "only at the end, after .* every few seconds"),
        ("bad checkpoint", "context.checkpoint", "cannot act: actions are not finite"),
        ("string", "the policy names", r"modes = \('mean',\)"),
        ("unknown mode", "the policy names", "'sampled', 'mean'"),
        ("shape", "actions are float32", r"shape \(2,\)"),
        ("type", "actions are float32", r"float64; return actions.astype"),
        ("list", "actions are float32", "a list; return a NumPy array"),
        ("tensor", "actions are float32", "a Tensor; return a NumPy array"),
        ("bounds", "actions are float32", "fractions of the task's bounds"),
        ("nan", "actions are float32", "not finite"),
        ("changes observations", "acting changes", "work on a copy"),
        ("counts", "acting changes", r"changed the policy \(calls\)"),
        ("statistics", "acting changes", r"changed the policy \(seen\)"),
        ("seeds", "acting changes", "generator of .*PyTorch"),
        ("global", "actions depend", "global random generator"),
        ("noisy mean", "actions depend", "depend on `rng`"),
        ("batch", "what happens in a row", "statistics of the batch"),
        ("start forgets nothing", "start forgets", "start must forget"),
        ("start forgets all", "what happens in a row", "keep the memory of each row apart"),
        ("by place", "what happens in a row", "indexed by `rows`"),
        ("shared", "several actors", "keep the memory of an episode in the Actor"),
        ("random", "the same seed", "differ by"),
        ("catches all", "a stop", "let it pass"),
        ("forgets where it was", "a stopped training", "uninterrupted training"),
        ("forgetful", "a saved policy", "actions differ"),
        ("pickle", "saved files", "Object arrays cannot be loaded"),
        ("torch", "saved files", "more.pt.*numpy.savez"),
    ],
)
def test_a_violation_is_found_and_its_mend_named(fault: str, promise: str, problem: str) -> None:
    found = problems(Faulty, {"fault": fault})
    named = [text for name, text in found.items() if name.startswith(promise)]
    assert named, found
    assert re.search(problem, named[0]), named[0]


@pytest.mark.parametrize("fault", ["", "one mode", "memory", "numpy", "whole float", "scratch"])
def test_what_the_contract_allows_is_not_a_violation(fault: str) -> None:
    assert problems(Faulty, {"fault": fault}) == {}


def test_a_quick_training_may_have_one_checkpoint_and_is_told_so() -> None:
    results = list(check_method(Faulty, {"fault": "late"}, SMALL))
    assert not [result for result in results if result.problem]
    assert [result.remark for result in results if "only at the end" in result.remark]


def test_a_policy_class_that_is_not_declared_is_found() -> None:
    class Undeclared(Faulty):
        policy: ClassVar[type[Policy] | None] = None

    assert "set policy = Constant" in problems(Undeclared)["Method.policy is the class of that policy"]


class Shade(enum.Enum):
    DARK = 1


@dataclass(frozen=True)
class Odd:
    value: Any = None


@pytest.mark.parametrize(
    ("default", "words"),
    [
        (Path("here"), "faulty.value is a PosixPath; .*declare it as str"),
        (Shade.DARK, "faulty.value is a Shade; .*Literal"),
        (np.float32(0.1), "faulty.value is a float32; .*plain number 0.1"),
        ((1, {"a": np.int64(3)}), r"faulty.value\[1\]\['a'\] is a int64; .*plain number 3"),
        (np.zeros(2), "faulty.value is a ndarray; .*tuple of numbers"),
        (float("nan"), "faulty.value is nan, which is not a finite number"),
        (object(), "faulty.value is a object"),
        ("caf\udce9", "faulty.value is .*not UTF-8 text"),
        (["a", {"b": "caf\udce9"}], "faulty.value is .*not UTF-8 text"),
    ],
)
def test_settings_that_no_record_can_hold_are_named(default: Any, words: str) -> None:
    kind = dataclass(frozen=True)(
        type("Settings", (), {"__annotations__": {"value": Any}, "value": field(default_factory=lambda: default)})
    )
    found = problems(type("Strange", (Faulty,), {"Settings": kind}))
    assert list(found) == ["name, settings and needs are declared"]
    assert re.search(words, found["name, settings and needs are declared"])


@dataclass(frozen=True)
class Strange:
    array: np.ndarray | None = None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"Settings": dataclass(type("Settings", (), {"__annotations__": {"fault": str}, "fault": ""}))},
            "frozen=True",
        ),
        ({"Settings": dict}, "is not a dataclass"),
        (
            {"Settings": dataclass(frozen=True)(type("S", (), {"__annotations__": {"x": int}}))},
            "give every field a def",
        ),
        ({"name": ""}, "its name is ''"),
        ({"name": None}, "its name is None"),
        ({"name": "a,b"}, "its name is 'a,b'"),
        ({"name": "evaluation"}, "another meaning"),
        ({"needs_expert": "yes"}, "needs_expert is 'yes'; write True or False"),
        ({"policy": Constant("", np.zeros(2))}, "it must be the class"),
        ({"small": [1]}, "must be a dictionary"),
        ({"small": {"falt": ""}}, "did you mean 'fault'"),
        ({"small": {"fault": 3}}, "small is wrong: faulty.fault = 3"),
        ({"display_name": 5}, "its display_name is 5"),
        ({"display_name": "two\nlines"}, "write one line of text"),
        ({"summary": None}, "its summary is None"),
        ({"fit": None}, "fit is None"),
        ({"Settings": make_dataclass("S", [("x", int, "high")], frozen=True)}, "faulty.x = 'high': Input should be"),
        ({"Settings": make_dataclass("S", [("x", int, 1.5)], frozen=True)}, "faulty.x = 1.5: Input should be"),
        ({"Settings": make_dataclass("S", [("x", Literal["a"], "b")], frozen=True)}, "faulty.x = 'b': Input should"),
        ({"Settings": Strange}, "annotations of faulty's Settings cannot be checked"),
    ],
)
def test_declarations_that_are_wrong_are_named(changes: dict[str, Any], words: str) -> None:
    found = problems(type("Strange", (Faulty,), changes))
    assert re.search(words, found["name, settings and needs are declared"])
