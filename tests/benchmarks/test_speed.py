"""The speed comparisons run, time what they say, and refuse what they do not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.speed import __main__ as command
from benchmarks.speed import environments, flows, gail, loop
from benchmarks.speed.plain import PlainTraining
from benchmarks.speed.timing import Comparison, compare, gemm_rate
from envs.demonstrations import load_task
from envs.sb3 import GroupVecEnv
from methods.gpril.algorithm import Training
from methods.interface import EnvGroup


def test_ratios_are_of_the_peer_to_ours() -> None:
    def spin(turns: int) -> None:
        total = 0
        for number in range(turns):
            total += number

    found = compare("spinning", "ten times as much", lambda: spin(30_000), lambda: spin(300_000), rounds=5)
    assert 5.0 < found.ratio < 20.0 and found.low <= found.ratio <= found.high


def test_the_dense_peak_is_plausible() -> None:
    assert 1e8 < gemm_rate(128, rounds=2) < 1e14


@pytest.mark.parametrize("kind, flow", [(Training, "fast"), (Training, "nflows"), (PlainTraining, "nflows")])
def test_a_slice_of_the_loop_teaches_models_and_policy(
    kind: type[Training], flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MODEL_UPDATES", 2)
    monkeypatch.setattr(loop, "POLICY_UPDATES", 3)
    made: list[Training] = []

    class Remembered(kind):  # type: ignore[misc, valid-type]
        def collect_initial(self, group: EnvGroup) -> None:
            made.append(self)
            super().collect_initial(group)

    run = loop._slice(Remembered, loop.replace(loop.SLICE, model_hidden=(8, 8), flow=flow), "PegInsertion-v0")
    (training,) = made
    before = [parameter.clone() for parameter in (*training.network.parameters(), *training.models.states.parameters())]
    run()
    after = [*training.network.parameters(), *training.models.states.parameters()]
    assert training.at.episodes == 3 and training.at.policy_updates == 3
    assert sum(not old.equal(new) for old, new in zip(before, after, strict=True)) > len(after) / 2


def test_roll_outs_are_timed_beside_the_training_and_in_turn() -> None:
    small = {"model_hidden": (8, 8), "model_updates": 2, "policy_updates": 128, "initial_episodes": 1}
    loop._train(loop.replace(loop.OVERLAPPED, **small), "PegInsertion-v0")


def test_the_command_shows_and_writes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = iter([3.0, 4.0, 5.0])

    def measured(name: str) -> Any:
        return lambda: iter([Comparison(name, "a peer", 1.0, 3.0, next(ratios), 2.9, 3.1, "noted")])

    monkeypatch.setattr(command, "SUBJECTS", {"thing": measured("a thing"), "other": measured("another")})
    file = tmp_path / "new/speed.json"
    done = CliRunner().invoke(command.main, ["--only", "other,thing", "--json", str(file)])
    assert done.exit_code == 0 and "a peer" in done.output
    assert json.loads(file.read_text())["other"]["comparisons"][0]["ratio"] == 3.0
    CliRunner().invoke(command.main, ["--only", "thing", "--json", str(file)])
    table = file.with_suffix(".md").read_text().splitlines()[2:]
    assert table[0] == "| a thing | a peer | 5.00 [2.90, 3.10] | noted |"  # measured again
    assert table[1].startswith("| another | a peer | 3.00")  # from before


@pytest.mark.parametrize("content", ["[]", "{", '{"thing": []}', '{"thing": {"comparisons": [{}]}}'])
def test_the_command_overwrites_nothing_else(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SUBJECTS", {"thing": lambda: iter([])})
    file = tmp_path / "records.json"
    file.write_text(content)
    done = CliRunner().invoke(command.main, ["--only", "thing", "--json", str(file)])
    assert done.exit_code == 2 and "name another file" in done.output and file.read_text() == content


def test_the_command_names_its_subjects() -> None:
    unknown = CliRunner().invoke(command.main, ["--only", "warp"])
    assert unknown.exit_code == 2 and "flows" in unknown.output


@pytest.mark.parametrize("there", [True, False])
def test_zuko_is_a_peer_where_it_is_installed(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "find_spec", lambda name: there)
    monkeypatch.setattr(flows, "_zuko", lambda *given: (lambda: None, lambda: None))
    case = flows.Case("small", flows.FlowShape(2, 2, (8, 8)))
    peers = [one.peer for one in flows._measure(case, 256, 1e9)]
    assert peers == ["nflows, Adam", "nflows", "a dense forward pass"] + ["zuko, Adam", "zuko"] * there


def test_environments_are_timed_alone_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "SECONDS", 6.4)
    found = list(environments.measure(rounds=1))
    assert [one.name.rpartition(", ")[2] for one in found] == ["clip"] * 4 + ["peg"] * 4
    assert all(one.ratio > 0.0 for one in found)
    assert "simulated seconds a second of one core" in found[0].note and "wall-clock" in found[3].note


def test_gail_and_the_stock_one_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {"ours": 0, "theirs": 0}
    for kind, name in ((GroupVecEnv, "ours"), (DummyVecEnv, "theirs")):

        def counting(self: Any, step_wait: Any = kind.step_wait, name: str = name) -> Any:
            taken[name] += self.num_envs
            return step_wait(self)

        monkeypatch.setattr(kind, "step_wait", counting)
    small = gail.Settings(processes=2, batch_size=8, actor_steps=2, discriminator_batch=8, critic_batch=8)
    demonstrations = load_task("PegInsertion-v0").subset(episodes=2)
    gail._ours(small, demonstrations, threads=2)
    gail._stock(small, demonstrations, DummyVecEnv)
    assert taken == {"ours": 32, "theirs": 32}
