"""What a cluster's node is sent and does, without a cluster."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.errors import WorkerDied
from benchmarks.execution.executor import Message, Started
from benchmarks.execution.ray_node import PREFIX, Files, Folder, Node, package_sources, read_folder, write_folder
from benchmarks.records.schema import Record, Trial
from benchmarks.trial.protocol import Interrupted, Progress, TrialRequest
from tests.benchmarks import examples
from tests.benchmarks.conftest import Bench
from tests.benchmarks.fakes import PATIENT
from tests.benchmarks.processes import workers_of


def run(request: TrialRequest, snapshots: Folder | None = None) -> list[Message | Files]:
    """All that a node yields; raises what it raises, with that as an argument more."""
    items: list[Message | Files] = []

    async def collect() -> None:
        async for item in Node().execute(request, snapshots or {}):
            items.append(item)

    try:
        asyncio.run(collect())
    except WorkerDied as death:
        raise WorkerDied(str(death), items) from None
    return items


def request_for(record: Record, **changes: Any) -> TrialRequest:
    return TrialRequest(
        trial=record.trial, code_digest=record.provenance.code_digest, scratch=Path("/nowhere")
    ).model_copy(update=changes)


def test_a_node_says_what_the_worker_says_and_sends_the_policy_before_the_record(bench: Bench) -> None:
    bench.run("--seeds=1")
    (here,) = bench.records()
    items = run(request_for(here))
    *_, policy, record = items
    assert isinstance(items[0], Started) or isinstance(items[1], Started)
    assert isinstance(policy, Files) and policy.kind == "policy"
    assert policy.content == read_folder(bench.results / "policies" / here.trial.id)
    assert isinstance(record, Record) and record.final == here.final
    printed = b"".join(item.content["log"] for item in items if isinstance(item, Files) and item.kind == "log")
    assert b"the chatter of a library" in printed and printed.startswith(b"=== ")


def test_a_node_sends_snapshots_and_resumes_from_those_it_is_given(bench: Bench) -> None:
    bench.run(f"--methods={PATIENT}", "--seeds=1", f"--set=patient.log={bench.log}", "--set=patient.killed_after=0")
    (here,) = bench.records()
    settings = here.trial.settings | {"killed_after": 3, "log": f"{bench.log}.there"}
    trial = here.trial.model_copy(update={"settings": settings})
    request = request_for(here, trial=trial, snapshots=Path("/nowhere/either"), save_every=1e-6)
    with pytest.raises(WorkerDied, match="SIGKILL") as death:
        run(request)
    sent: Folder = {}
    for item in death.value.args[1]:
        if isinstance(item, Files) and item.kind == "snapshots":
            sent |= item.content
    assert sorted(sent) == ["starts.log", "state.npz"] and sent["starts.log"] == b"began\n"
    *_, record = run(request, sent)
    assert isinstance(record, Record)
    assert (record.provenance.starts, record.provenance.resumed) == (2, 1)
    assert record.final == here.final and record.diagnostics == here.diagnostics


@pytest.mark.parametrize("order", ["stop", "kill"])
def test_a_node_can_be_told_to_end(bench: Bench, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("BENCH", str(bench.folder))
    gate = bench.folder / "gate"
    gate.touch()
    bench.run(f"--methods={PATIENT}", "--seeds=1", f"--set=patient.gate={gate}")
    gate.unlink()
    (here,) = bench.records()

    async def received() -> list[Message | Files]:
        node, items = Node(), []
        async for item in node.execute(request_for(here, snapshots=Path("/nowhere")), {}):
            items.append(item)
            if isinstance(item, Progress):
                if order == "stop":
                    await node.stop()
                else:
                    killing = asyncio.create_task(node.kill())
        if order == "kill":
            await killing
        return items

    if order == "stop":
        *_, last = asyncio.run(received())
        assert last == Interrupted(unsaved="")
    else:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(received())
    assert not workers_of(bench.folder) and not list(tmp_path.glob(f"{PREFIX}*"))


def test_folders_of_killed_nodes_are_swept(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run("--seeds=1")
    (here,) = bench.records()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, young, used, other = (tmp_path / f"{name}" for name in (f"{PREFIX}1", f"{PREFIX}2", f"{PREFIX}3", "other-4"))
    for folder in (dead, young, used, other):
        (folder / "snapshots").mkdir(parents=True)
        os.utime(folder, (0, time.time() if folder == young else 0))
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    run(request_for(here))
    os.close(descriptor)
    assert {young, used, other} < set(tmp_path.iterdir()) and not dead.exists()
    assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 2, "nor is its own left"


def test_a_folder_survives_the_journey(tmp_path: Path) -> None:
    content = {"a.bin": b"\0\1", "below/b.txt": b"text"}
    write_folder(content, tmp_path / "there")
    assert read_folder(tmp_path / "there") == content
    assert read_folder(tmp_path / "nowhere") == {}


def test_what_is_not_installed_is_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our packages, the method's and the task's, and files below the current folder; others are named."""
    here = tmp_path / "here"
    (here / "mine").mkdir(parents=True)
    (here / "mine" / "own.py").write_text("from tests.benchmarks.fakes import LeastSquares\n")
    (here / "mine" / "demonstrations.npz").write_bytes(b"data")
    monkeypatch.chdir(here)
    plain = examples.trial()

    def own(folder: str) -> Trial:
        choice = plain.demonstrations.model_copy(update={"source": f"{folder}mine/demonstrations.npz"})
        return plain.model_copy(update={"method": f"{folder}mine/own.py:LeastSquares", "demonstrations": choice})

    packed = tmp_path / "packed"
    packed.mkdir()
    assert package_sources([plain, own("")], packed) == []
    sent = set(read_folder(packed))
    assert {"benchmarks/trial/worker.py", "benchmarks/planning/profiles/quick.toml", "envs/data/peg.npz"} <= sent
    assert {"methods/gpril/algorithm.py", "tests/tiny.py", "mine/own.py", "mine/demonstrations.npz"} <= sent
    assert not any("__pycache__" in name or name.startswith("gymnasium") for name in sent)
    assert package_sources([own(f"{here}/")], tmp_path / "far") == [
        f"{here}/mine/demonstrations.npz",
        f"{here}/mine/own.py",
    ]


def test_without_ray_its_engine_says_how_to_install_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "benchmarks.execution.ray_cluster", raising=False)
    monkeypatch.delattr("benchmarks.execution.ray_cluster", raising=False)
    outcome = bench.run("--engine=ray")
    assert outcome.code == 2 and "--engine ray needs Ray; install it with: pip install" in outcome.err
    assert not bench.results.exists()


@pytest.mark.parametrize("option", ["--ray-address=auto", "--cpus-per-trial=2", "--gpus-per-trial=0.5"])
def test_options_of_ray_are_refused_by_the_local_engine(bench: Bench, option: str) -> None:
    outcome = bench.run(option)
    assert outcome.code == 2 and "has no effect with local processes; add --engine ray" in outcome.err
