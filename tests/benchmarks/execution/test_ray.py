"""The Ray engine on a cluster of several nodes, all on this machine; `tox -e ray` runs these tests."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.execution import ray_node
from benchmarks.execution.ray_node import PREFIX
from benchmarks.records import provenance
from benchmarks.records.schema import Trial, read_record
from tests.benchmarks.conftest import Bench
from tests.benchmarks.execution.test_interruptions import ALWAYS, outcome
from tests.benchmarks.fakes import PATIENT
from tests.benchmarks.processes import finish, start, wait_for
from tests.benchmarks.test_run import results_of

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -c requirements.lock ray")
from tests.benchmarks.machines import Machines  # noqa: E402 (needs Ray)

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where Ray and all trials write. Its path is short since those of sockets must be."""
    name = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", name)
        patch.setenv("BENCH", name)
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # Ray keeps its token in the user's home
        yield Path(name)

    def removed() -> bool:
        """Not while a process of Ray still writes to it, which must end."""
        with suppress(OSError):
            shutil.rmtree(name)
        return not Path(name).exists()

    wait_for(removed)


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Machines]:
    """Two nodes."""
    made = Machines(folder)
    made.add()
    made.add()
    yield made
    made.shutdown()


@pytest.fixture
def on_ray(bench: Bench, cluster: Machines) -> Iterator[Bench]:
    """The bench with its trials on the cluster, where nothing may be left behind."""
    cluster.clean()
    where = ("--engine=ray", f"--ray-address={cluster.address}")
    yield Bench(bench.folder, (*bench.arguments, *where), bench._run)
    wait_for(lambda: not cluster.left())  # a trial that was ended cleans up at its own pace


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("trials", ["tiny", "smoke"])
def test_results_equal_those_of_the_local_engine(on_ray: Bench, trials: str) -> None:
    arguments = (*on_ray.arguments, "--seeds=4")
    if trials == "smoke":
        where = [argument for argument in on_ray.arguments if "ray" in argument]
        arguments = (*where, "--methods=bc,gpril", "--profile=smoke", "--seeds=1", f"--results={on_ray.results}")
    there = replace(on_ray, arguments=arguments)
    here = replace(on_ray, arguments=tuple(argument for argument in arguments if "ray" not in argument))
    runs = [start(there), start(here, f"--results={on_ray.folder / 'local'}", "--jobs=1")]
    said = [finish(run) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    on_cluster, locally = ({r.trial.id: results_of(r) for r in on_ray.records(name)} for name in ("results", "local"))
    assert len(on_cluster) == 4 and on_cluster == locally
    assert files_of(on_ray.results / "policies") == files_of(on_ray.folder / "local" / "policies")


def test_a_node_that_dies_loses_no_trial(on_ray: Bench, cluster: Machines) -> None:
    node, gate = cluster.add(), on_ray.folder / "gate"
    run = start(
        on_ray, f"--methods={PATIENT}", f"--set=patient.log={on_ray.log}", f"--set=patient.gate={gate}", "--seeds=7"
    )
    wait_for(lambda: len(on_ray.starts()) == 3, run)
    cluster.kill(node)
    gate.touch()
    said = finish(run)
    cluster.clean()  # now, as nothing else cleans up after a node that died
    assert run.returncode == 0, said
    assert "7 trials to run, 3 at once" in said and "the process or its node died" in said
    assert [record.status for record in on_ray.records()] == ["ok"] * 7
    (attempt,) = (on_ray.results / "attempts").iterdir()
    lost = read_record(attempt.read_bytes(), "attempt").trial.seed
    assert sorted(on_ray.starts()) == sorted([*range(7), lost]), "the lost trial alone began again"


def test_a_node_that_comes_later_helps(on_ray: Bench, cluster: Machines) -> None:
    gate = on_ray.folder / "gate"
    run = start(
        on_ray, f"--methods={PATIENT}", f"--set=patient.log={on_ray.log}", f"--set=patient.gate={gate}", "--seeds=8"
    )
    wait_for(lambda: len(on_ray.starts()) == 2, run)
    node = cluster.add()
    try:
        wait_for(lambda: len(cluster.workers()) == 3, run)
        gate.touch()
        said = finish(run)
        assert run.returncode == 0 and sorted(on_ray.starts()) == list(range(8)), said
    finally:
        cluster.kill(node)


def test_a_killed_worker_is_tried_again(on_ray: Bench) -> None:
    run = start(on_ray, "--set=linear.trouble=kill once", f"--set=linear.log={on_ray.log}")
    said = finish(run)
    assert run.returncode == 0 and "was killed by SIGKILL" in said, said
    assert sorted(on_ray.starts()) == [0, 0, 1]
    (attempt,) = (on_ray.results / "attempts").iterdir()
    assert "SIGKILL" in read_record(attempt.read_bytes(), "attempt").error


def test_a_trial_goes_on_elsewhere_from_its_snapshot(on_ray: Bench, cluster: Machines) -> None:
    """A process of Ray is killed; it takes the trial's own process along, but the snapshots are with the runner."""
    patient = replace(on_ray, arguments=tuple(on_ray.command(f"--methods={PATIENT}", "--seeds=1")))
    run = start(patient, "--set=patient.pause=1.0", ALWAYS)
    wait_for(lambda: list((on_ray.results / "snapshots").glob("*/state.npz")))
    (worker,) = cluster.workers()
    os.kill(parent(worker), signal.SIGKILL)
    wait_for(lambda: worker not in cluster.workers())
    said = finish(run)
    assert run.returncode == 0 and "the process or its node died" in said
    (record,) = on_ray.records()
    assert (record.provenance.starts, record.provenance.resumed) == (2, 1)
    assert not list((on_ray.results / "snapshots").iterdir())

    start(patient, f"--results={on_ray.folder / 'straight'}").communicate()
    (straight,) = on_ray.records("straight")
    assert outcome(record) == outcome(straight) and straight.provenance.starts == 1
    cluster.clean()


def test_a_trial_that_takes_too_long_is_ended_and_keeps_its_curve(on_ray: Bench, cluster: Machines) -> None:
    run = start(on_ray, "--set=linear.trouble=hang", "--seeds=1", "--timeout=15")
    finish(run)
    assert run.returncode == 1
    (late,) = on_ray.records()
    assert late.status == "timed out" and "ended after 15 s" in late.error
    assert len(late.curve) == 1 and late.curve[0].progress == 0.5
    assert not cluster.workers()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_stopped_run_has_saved_a_checkpoint_and_resumes(on_ray: Bench, cluster: Machines, by: signal.Signals) -> None:
    gate = on_ray.folder / "gate"
    patient = (f"--methods={PATIENT}", "--seeds=3", "--jobs=2", f"--set=patient.gate={gate}")
    run = start(on_ray, *patient)
    wait_for(lambda: len(cluster.workers()) == 2 and Path(f"{gate}.reached").exists(), run)
    run.send_signal(by)
    said = finish(run)
    assert run.returncode == 130 and "Traceback" not in said and "To resume: python -m benchmarks.run" in said
    assert "from a checkpoint" in said and not on_ray.records()
    assert not cluster.workers() and not cluster.left()
    assert not list((on_ray.results / "scratch").iterdir())

    gate.touch()
    run = start(on_ray, *patient)
    said = finish(run)
    assert run.returncode == 0, said
    records = on_ray.records()
    assert max(record.provenance.resumed for record in records) == 1
    start(on_ray, *patient, f"--results={on_ray.folder / 'straight'}").communicate()
    assert [outcome(record) for record in records] == [outcome(record) for record in on_ray.records("straight")]


def test_no_worker_outlives_a_killed_runner(on_ray: Bench, cluster: Machines) -> None:
    run = start(on_ray, f"--set=linear.log={on_ray.log}", "--set=linear.trouble=hang", "--set=linear.unlucky=1")
    wait_for(lambda: 1 in on_ray.starts(), run)
    os.kill(run.pid, signal.SIGKILL)
    finish(run)
    wait_for(lambda: not cluster.workers())
    cluster.clean()


def test_two_runs_share_the_work(on_ray: Bench, bench: Bench) -> None:
    slow = (f"--set=linear.log={bench.log}", "--set=linear.pause=0.2", "--jobs=1", "--seeds=4")
    runs = [start(each, *slow) for each in (on_ray, bench)]
    said = [finish(run) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert sorted(bench.starts()) == [0, 1, 2, 3]


def test_a_node_does_a_trial_with_the_files_it_was_sent(
    on_ray: Bench, demonstration_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method, a package and demonstrations of one's own, below the current folder and nowhere else."""
    (on_ray.folder / "mine").mkdir()
    own = on_ray.folder / "mine" / "own.py"
    own.write_text(
        "import os\nfrom tests.benchmarks import fakes\n"
        "class Mine(fakes.LeastSquares):\n    name = 'mine'\n    def fit(self, *given):\n"
        f"        open({str(on_ray.log)!r}, 'w').write('\\n'.join([__file__, fakes.__file__, os.getcwd()]))\n"
        "        return super().fit(*given)\n"
    )
    shutil.copy(demonstration_file, on_ray.folder / "mine" / "tiny.npz")
    monkeypatch.chdir(on_ray.folder)
    monkeypatch.setenv("PYTHONPATH", str(provenance.ROOT))
    run = start(on_ray, "--methods=mine/own.py:Mine", "--demonstrations=mine/tiny.npz", "--seeds=1")
    said = finish(run)
    assert run.returncode == 0 and "every node must have" not in said, said
    for place in on_ray.log.read_text().split("\n"):
        assert Path(place).is_absolute() and "working_dir_files" in place


def test_a_node_with_other_source_files_makes_no_result(on_ray: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def pack(trials: Iterable[Trial], folder: Path) -> list[str]:
        ray_node.package_sources(trials, folder)
        (folder / "methods" / "interface.py").open("a").write("CHANGED = True")
        return []

    monkeypatch.setattr("benchmarks.execution.ray_cluster.package_sources", pack)
    assert on_ray.run("--seeds=1").code == 1
    (record,) = on_ray.records()
    assert record.status == "failed" and "source files of this trial changed" in record.error and not record.final


def test_a_node_that_cannot_import_the_suite_ends_the_run_in_words(
    on_ray: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack(trials: Iterable[Trial], folder: Path) -> list[str]:
        ray_node.package_sources(trials, folder)
        (folder / "benchmarks" / "execution" / "ray_node.py").write_text("import a_library_that_is_not_there")
        return []

    monkeypatch.setattr("benchmarks.execution.ray_cluster.package_sources", pack)
    outcome = on_ray.run("--seeds=1")
    assert outcome.code == 1 and "a node cannot import the suite" in outcome.err, outcome.err
    assert "a_library_that_is_not_there" in outcome.err and not on_ray.records()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--ray-address=127.0.0.1:1",), "--ray-address 127.0.0.1:1: no cluster answers there"),
        (("--ray-address=nonsense",), "'nonsense' is neither HOST:PORT nor auto"),
        (("--ray-address=ray://127.0.0.1:10001",), "a machine outside the cluster joins it first"),
        (
            ("--cpus-per-trial=64",),
            "has 64 CPUs, which a trial asks for; it has 0 CPUs; 1 CPUs; 1 CPUs",
        ),
        (("--gpus-per-trial=0.5",), "no node of the cluster has 1 CPUs and 0.5 GPUs"),
        (("--device=cuda",), "no node of the cluster has 1 CPUs and 1 GPUs"),
    ],
)
def test_what_the_cluster_cannot_do_is_refused(on_ray: Bench, more: tuple[str, ...], said: str) -> None:
    outcome = on_ray.run(*more)
    assert outcome.code == 2 and said in outcome.err, outcome.err
    assert not on_ray.results.exists()


def test_a_cluster_that_is_gone_ends_the_run_in_words(on_ray: Bench, cluster: Machines) -> None:
    """It is the last test of this cluster."""
    run = start(on_ray, f"--set=linear.log={on_ray.log}", "--set=linear.pause=2.0", "--seeds=4")
    wait_for(lambda: 1 in on_ray.starts(), run)
    cluster.behead()
    said = finish(run)
    assert run.returncode == 1 and "the cluster is gone" in said and "Traceback" not in said
    assert not list((on_ray.results / "scratch").iterdir())
    cluster.clean()


def test_a_cluster_of_this_machine_is_started_and_ended(bench: Bench, folder: Path) -> None:
    outcome = bench.run("--engine=ray", "--jobs=2", "--gpus-per-trial=0")
    assert outcome.code == 0 and "2 trials to run, 2 at once" in outcome.err, outcome.err
    assert [record.status for record in bench.records()] == ["ok", "ok"]
    assert not ray.is_initialized() and not list(folder.glob(f"{PREFIX}*"))
