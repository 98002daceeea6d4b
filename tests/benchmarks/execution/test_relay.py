"""What a cluster's node is sent and does, without a cluster."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.errors import WorkerDied
from benchmarks.execution.local import LocalWorkplace
from benchmarks.execution.relay import PREFIX, read_folder, relay, with_commit, write_folder
from benchmarks.execution.shipment import pack
from benchmarks.records.schema import Trial, read_record
from benchmarks.trial.protocol import BEGUN, NOTHING, Progress, TrialRequest
from tests.benchmarks import examples
from tests.benchmarks.conftest import Bench
from tests.benchmarks.fakes import PATIENT

PLACE = LocalWorkplace(jobs=1)


def test_a_relay_says_what_the_worker_says_and_sends_the_policy_before_the_record(bench: Bench, inline: None) -> None:
    bench.run("--seeds=1")
    (here,) = bench.records()
    order = TrialRequest(trial=here.trial, code_digest=here.provenance.code_digest, scratch=Path("/nowhere"))
    begun, *_, (kind, policy), line = relay(order, {}, PLACE)
    assert begun == BEGUN and kind == "policy" and isinstance(line, bytes)
    assert policy == read_folder(bench.results / "policies" / here.trial.id) and "weights.json" in policy
    assert read_record(line, "the relay's").final == here.final


def test_a_relay_sends_snapshots_and_goes_on_from_those_it_is_given(bench: Bench) -> None:
    patient = (f"--methods={PATIENT}", "--seeds=1", f"--set=patient.log={bench.log}", "--set=patient.killed_after=3")
    bench.run(*patient, "--set=patient.killed_after=0")
    (here,) = bench.records()
    settings = here.trial.settings | {"killed_after": 3, "log": f"{bench.log}.there"}
    trial = here.trial.model_copy(update={"settings": settings})
    order = TrialRequest(
        trial=trial,
        code_digest=here.provenance.code_digest,
        scratch=Path("/nowhere"),
        snapshots=Path("/nowhere/either"),
        save_every=1e-6,
    )
    sent: dict[str, bytes] = {}
    with pytest.raises(WorkerDied, match="SIGKILL"):
        for item in relay(order, sent, PLACE):
            if isinstance(item, tuple):
                sent |= item[1]
    assert sorted(sent) == ["starts.log", "state.npz"] and sent["starts.log"] == b"began\n"
    *_, line = relay(order, sent, PLACE)
    assert isinstance(line, bytes)
    record = read_record(line, "the relay's")
    assert (record.provenance.starts, record.provenance.resumed) == (2, 1)
    assert record.final == here.final and record.diagnostics == here.diagnostics


def test_a_record_gets_its_commit_and_other_lines_stay() -> None:
    record = examples.record()
    got = read_record(with_commit(record.to_bytes(), "abc"), "record")
    assert got.provenance.commit == "abc" and got.final == record.final
    for line in (record.to_bytes()[:-9], Progress(share=0.5, usage=NOTHING).model_dump_json().encode(), BEGUN):
        assert with_commit(line, "abc") == line


def test_folders_of_killed_relays_are_swept(
    bench: Bench, inline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run("--seeds=1")
    (here,) = bench.records()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, young, used, other = (tmp_path / f"{name}" for name in (f"{PREFIX}1", f"{PREFIX}2", f"{PREFIX}3", "other-4"))
    for folder in (dead, young, used, other):
        (folder / "snapshots").mkdir(parents=True)
        os.utime(folder, (0, time.time() if folder == young else 0))
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    list(
        relay(
            TrialRequest(trial=here.trial, code_digest=here.provenance.code_digest, scratch=Path("/nowhere")), {}, PLACE
        )
    )
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
    assert pack([plain, own("")], packed) == []
    sent = set(read_folder(packed))
    assert {"benchmarks/worker.py", "benchmarks/profiles/quick.toml", "envs/data/peg.npz"} <= sent
    assert {"methods/gpril/algorithm.py", "tests/tiny.py", "mine/own.py", "mine/demonstrations.npz"} <= sent
    assert not any("__pycache__" in name or name.startswith("gymnasium") for name in sent)
    assert pack([own(f"{here}/")], tmp_path / "far") == [f"{here}/mine/demonstrations.npz", f"{here}/mine/own.py"]


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
    assert outcome.code == 2 and "means nothing to the local engine; add --engine ray" in outcome.err
