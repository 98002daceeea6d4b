"""What can go wrong in a trial is its record, with one sentence; what was opened is closed whatever happens."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch

from benchmarks.records import provenance
from benchmarks.records.schema import BudgetChoice, DemonstrationChoice, Evaluation, Record, Trial, read_record
from benchmarks.trial import worker
from benchmarks.trial.protocol import STOP, Event, Interrupted, Notice, TrialRequest, read_message
from benchmarks.trial.saved_policy import FILE
from envs.demonstrations import Demonstrations, load
from methods import registry
from methods.interface import FitContext, Method, MethodError, Policy
from tests import tiny
from tests.benchmarks import examples
from tests.benchmarks.fakes import TASK, Linear

ASKED: dict[str, Callable[[Demonstrations, FitContext], Any]] = {}
"""What the method `Asked` does instead of learning, by name."""


@dataclass(frozen=True)
class AskedSettings:
    what: str = ""


class Asked(Method):
    name: ClassVar[str] = "asked"
    Settings: ClassVar[type] = AskedSettings
    policy: ClassVar[type[Policy] | None] = Linear

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> Any:
        done = ASKED[self.settings.what](demonstrations, context)
        return Linear(np.zeros((4, 2))) if done is None else done


class Needy(Asked):
    name: ClassVar[str] = "needy"
    needs_expert: ClassVar[bool] = True


@pytest.fixture
def perform(tmp_path: Path, demonstration_file: Path) -> Callable[..., Record]:
    def do(what: Any, events: list[Event] | None = None, method: str = "Asked", **changes: Any) -> Record:
        ASKED[what.__name__] = what
        name = f"{__name__}:{method}"
        trial = Trial(
            method=name,
            settings={"what": what.__name__},
            task=changes.pop("task", TASK),
            demonstrations=DemonstrationChoice(
                source=str(demonstration_file), digest=load(demonstration_file).digest, episodes=2
            ),
            seed=0,
            budget=BudgetChoice(environment_steps=200, policy_updates=10, **changes),
            evaluation=Evaluation(rollouts=2, curve_points=2, curve_rollouts=1),
        )
        scratch = tmp_path / str(len(list(tmp_path.iterdir())))
        scratch.mkdir()
        files = provenance.source_files(registry.resolve(name), trial.task)
        request = TrialRequest(trial=trial, code_digest=provenance.digest(files), scratch=scratch)
        record = worker.perform(request, (events if events is not None else []).append)
        return read_record(record.to_bytes(), "it can be written and read")

    return do


def test_sys_exit_is_a_failed_trial(perform: Callable[..., Record]) -> None:
    def leave(*_: Any) -> None:
        sys.exit("usage: nobody knows")

    record = perform(leave)
    assert record.status == "failed" and "sys.exit('usage: nobody knows')" in record.error


@pytest.mark.parametrize("count", [np.int64(5), np.float32(5.0), 5.0, torch.tensor(5), np.array(5), True * 5])
def test_counts_of_any_library_are_whole_numbers(perform: Callable[..., Record], count: Any) -> None:
    def learn(demonstrations: Demonstrations, context: FitContext) -> None:
        context.report(count, loss=torch.tensor(0.5))
        context.checkpoint(Linear(np.zeros((4, 2))), np.float32(0.5), count)

    record = perform(learn)
    assert (record.status, record.error) == ("ok", "")
    assert record.usage.gradient_steps == 5 and record.diagnostics.series == {"loss": [(5, 0.5)]}
    assert [(point.progress, point.gradient_steps) for point in record.curve] == [(0.5, 5), (1.0, 5)]


@pytest.mark.parametrize(
    ("progress", "count", "said"),
    [
        (0.5, 1.5, "gradient_steps is 1.5, but a whole number"),
        (0.5, np.nan, "gradient_steps is nan, but a finite number"),
        (0.5, float("inf"), "gradient_steps is inf"),
        (0.5, -1, "gradient_steps is -1"),
        (0.5, "many", "gradient_steps is 'many', but a number"),
        (0.5, None, "gradient_steps is None"),
        (0.5, torch.zeros(2), "gradient_steps is tensor"),
        (float("nan"), 1, "progress is nan"),
        ("half", 1, "progress is 'half'"),
    ],
)
def test_counts_that_are_none_are_refused(perform: Callable[..., Record], progress: Any, count: Any, said: str) -> None:
    def learn(demonstrations: Demonstrations, context: FitContext) -> None:
        context.checkpoint(Linear(np.zeros((4, 2))), progress, count)

    record = perform(learn)
    assert record.status == "failed" and said in record.error and "Traceback" not in record.error


def test_scalars_that_are_no_numbers_are_refused(perform: Callable[..., Record]) -> None:
    def learn(demonstrations: Demonstrations, context: FitContext) -> None:
        context.report(1, loss="low")  # type: ignore[arg-type]

    assert "loss is 'low', but a number is needed" in perform(learn).error


class Closing(tiny.TinySlot):
    """Keeps a list of what is open."""

    open: ClassVar[list[Closing]] = []

    def __init__(self) -> None:
        super().__init__()
        self.open.append(self)

    def close(self) -> None:
        self.open.remove(self)  # raises where it is closed twice


@pytest.fixture
def closing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Closing]]:
    spec = gymnasium.envs.registration.EnvSpec(tiny.ID, entry_point=Closing, order_enforce=False)
    monkeypatch.setitem(gymnasium.registry, tiny.ID, spec)
    Closing.open.clear()
    yield Closing
    Closing.open.clear()


@pytest.mark.parametrize("end", ["well", "failed", "raised", "exit", "interrupted"])
def test_every_environment_is_closed_once(perform: Callable[..., Record], closing: type[Closing], end: str) -> None:
    def use(demonstrations: Demonstrations, context: FitContext) -> None:
        kept, left = context.make_env(), context.make_env()
        kept.reset(), kept.close(), left.reset()
        venv, group = context.make_vector_env(3), context.make_env_group(2)
        venv.reset(), group.reset([1, 2], [0, 1])
        group.close()
        context.checkpoint(Linear(np.zeros((4, 2))), 0.5, 1)
        assert len(closing.open) >= 4
        if end == "failed":
            raise MethodError("no")
        if end == "raised":
            raise ValueError("no")
        if end == "exit":
            sys.exit()
        if end == "interrupted":
            raise KeyboardInterrupt
        venv.close(), venv.close()

    if end == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            perform(use)
    else:
        assert perform(use).status == ("ok" if end == "well" else "failed")
    assert closing.open == []


def test_an_environment_that_cannot_be_closed_is_a_notice(
    perform: Callable[..., Record], closing: type[Closing], monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(demonstrations: Demonstrations, context: FitContext) -> None:
        for _ in range(3):
            context.make_env()
        monkeypatch.setattr(Closing, "close", close)

    def close(self: Closing) -> None:
        closed.append(self)
        raise OSError("the simulator hangs")

    closed: list[Closing] = []
    events: list[Event] = []
    assert perform(use, events).status == "ok"
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert notice.text == "an environment could not be closed (OSError: the simulator hangs)"
    assert len(closed) == len(closing.open) > 3, "all others are closed nevertheless"


def test_what_a_method_does_to_its_arrays_is_its_own_affair(perform: Callable[..., Record]) -> None:
    """The suite probes the policy with observations of its own, so a later checkpoint sees no change."""
    probed: list[np.ndarray] = []

    class Watching(Linear):
        def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
            probed.append(observations.copy())
            observations -= 1e6
            return super().act(observations * 0.0, deterministic, rng)

    def spoil(demonstrations: Demonstrations, context: FitContext) -> Any:
        torch.from_numpy(demonstrations.observations)[:] = 7.0  # past NumPy's flag
        for step in range(3):
            context.checkpoint(Watching(np.zeros((4, 2))), 0.0, step)
        return Watching(np.zeros((4, 2)))

    assert perform(spoil).status == "ok"
    shown = tiny.demonstrate(episodes=6, seed=0).observations
    for seen in probed[:3]:
        assert all((shown == row).all(axis=1).any() for row in seen)


def _step(environment: Any) -> None:
    environment.reset()
    environment.step(np.zeros(2))


@pytest.mark.parametrize("ignored", [False, True])
def test_steps_in_another_process_are_refused(perform: Callable[..., Record], ignored: bool) -> None:
    def split(demonstrations: Demonstrations, context: FitContext) -> None:
        child = multiprocessing.get_context("fork").Process(target=_step, args=(context.make_env(),))
        child.start()
        child.join()
        if not ignored:
            raise EOFError  # as SubprocVecEnv does where its worker ended

    record = perform(split)
    assert record.status == "failed" and "in another process" in record.error and "EOFError" not in record.error
    assert record.usage.environment_steps == 0


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_sb3_s_environments_in_processes_are_refused(perform: Callable[..., Record], start: str) -> None:
    def split(demonstrations: Demonstrations, context: FitContext) -> None:
        from stable_baselines3.common.vec_env import SubprocVecEnv

        venv = SubprocVecEnv([context.make_env] * 2, start_method=start)
        venv.reset()
        venv.step(np.zeros((2, 2)))

    record = perform(split)
    assert record.status == "failed" and "in another process" in record.error and len(record.error.splitlines()) == 1


class OneMode(Linear):
    modes: ClassVar[Any] = ("mean",)


def test_a_mode_that_a_policy_does_not_have_is_left_out(perform: Callable[..., Record]) -> None:
    def learn(demonstrations: Demonstrations, context: FitContext) -> Any:
        context.checkpoint(OneMode(np.zeros((4, 2))), 0.5, 1)
        return OneMode(np.zeros((4, 2)))

    record = perform(learn)
    assert record.status == "ok" and list(record.final) == ["mean"] and len(record.final["mean"]) == 2
    assert [(point.sampled, point.mean is None) for point in record.curve] == [(None, False)] * 2


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (7, "int is not a methods.interface.Policy"),
        (type("Odd", (Linear,), {"modes": ()})(np.zeros((4, 2))), r"Odd.modes is ()"),
        (type("Odd", (Linear,), {"modes": ("greedy",)})(np.zeros((4, 2))), "Odd.modes is ('greedy',)"),
    ],
)
def test_what_is_no_policy_is_refused(perform: Callable[..., Record], returned: Any, said: str) -> None:
    record = perform(lambda *_: returned)
    assert record.status == "failed" and said in record.error


def test_an_error_that_quotes_bytes_can_be_recorded(perform: Callable[..., Record]) -> None:
    def fail(*_: Any) -> None:
        raise MethodError("no file 'caf\udce9.npz'")

    assert perform(fail).error == r"no file 'caf\udce9.npz'"


def test_a_method_that_queries_needs_an_expert_and_a_budget(perform: Callable[..., Record]) -> None:
    assert "the budget has no expert_queries" in perform(lambda *_: None, method="Needy").error
    assert "make_expert(rng)" in perform(lambda *_: None, method="Needy", expert_queries=3).error


def test_a_policy_of_another_class_than_declared_is_a_notice(perform: Callable[..., Record], tmp_path: Path) -> None:
    events: list[Event] = []
    assert perform(lambda *_: OneMode(np.zeros((4, 2))), events).status == "ok"
    assert [event.text for event in events if isinstance(event, Notice)] == [
        f"{__name__}:Asked: policy is Linear, but fit gave OneMode"
    ]
    beside = json.loads((tmp_path / "0/policy" / FILE).read_text())
    assert (beside["task"], beside["observation_size"], beside["action_low"]) == (TASK, 3, [-1.0, -1.0])


def test_a_stop_that_comes_while_the_process_imports_finds_nothing_begun(
    tmp_path: Path, demonstration_file: Path
) -> None:
    method = "tests.benchmarks.fakes:LeastSquares"
    trial = examples.trial().model_copy(
        update={
            "method": method,
            "demonstrations": DemonstrationChoice(
                source=str(demonstration_file), digest=load(demonstration_file).digest, episodes=2
            ),
        }
    )
    files = provenance.source_files(registry.resolve(method), trial.task)
    (tmp_path / "scratch").mkdir()
    request = TrialRequest(
        trial=trial,
        code_digest=provenance.digest(files),
        scratch=tmp_path / "scratch",
        snapshots=tmp_path / "snapshots",
        save_every=300.0,
    )
    command = [sys.executable, "-m", "benchmarks.trial.worker"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(request.model_dump_json().encode() + b"\n" + STOP)
        process.stdin.flush()
        said = [read_message(line) for line in process.stdout]
    assert said == [Interrupted(unsaved="")] and not (tmp_path / "snapshots").exists()
