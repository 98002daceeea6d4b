"""Other projects' formats: nothing is lost on the way there and back, and damaged or hostile files are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from envs.demonstrations import Demonstrations, load, load_task, save
from envs.formats import __main__ as command
from envs.formats import common
from envs.formats.__main__ import FORMATS, main

h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py pyarrow")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install h5py pyarrow")
import pyarrow.parquet as pq  # noqa: E402

every = pytest.mark.parametrize("name", list(FORMATS))
REST = ("--task", "peg", "--dt", "0.1")


def small(**changes: Any) -> Demonstrations:
    rng = np.random.default_rng(0)
    made = [(rng.standard_normal((length + 1, 3)), rng.standard_normal((length, 2))) for length in (4, 1, 12)]
    return Demonstrations.from_trajectories(
        made, "PegInsertion-v0", changes.get("dt", 0.1), {"note": "ä", "n": [1, 2.5]}
    )


def call(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def exported(tmp_path: Path) -> Any:
    """Writes a data set in a format and returns its path."""

    def write(name: str, demonstrations: Demonstrations | None = None) -> Path:
        save(demonstrations or small(), tmp_path / "mine.npz")
        path = tmp_path / (f"data{len(list(tmp_path.iterdir()))}")
        done = call("export", tmp_path / "mine.npz", name, path)
        assert done.exit_code == 0, done.output
        return path

    return write


def refused(path: Path, name: str, *options: object) -> str:
    """The one line with which reading is refused."""
    out = path.parent / "refused.npz"
    done = call("import", name, path, "--out", out, *REST, *options)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output and not out.exists()
    (line,) = done.output.strip().splitlines()
    assert str(path) in line, line
    return line


@every
@pytest.mark.parametrize("dt", [0.1, 0.07, 1])
def test_everything_comes_back(tmp_path: Path, exported: Any, name: str, dt: float) -> None:
    for original in (small(dt=dt), small(dt=dt).subset(episodes=[2, 0])):
        out = tmp_path / "back.npz"
        assert call("import", name, exported(name, original), "--out", out).exit_code == 0
        assert load(out).digest == original.digest


@every
def test_the_shipped_demonstrations_come_back(tmp_path: Path, exported: Any, name: str) -> None:
    out = tmp_path / "back.npz"
    assert call("import", name, exported(name, load_task("peg")), "--out", out).exit_code == 0
    assert load(out).digest == load_task("peg").digest


@every
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    for part, message in [
        (small().subset(states_alone=True), "without actions"),
        (small().subset(every=3), "only whole episodes"),
        (small().subset(final_only=True), "only whole episodes"),
    ]:
        save(part, tmp_path / "part.npz")
        done = call("export", tmp_path / "part.npz", name, tmp_path / f"to-{len(list(tmp_path.iterdir()))}")
        if name == "arrays" and message == "without actions":
            assert done.exit_code == 0
        else:
            assert done.exit_code == 2 and message in done.output


def test_states_alone_come_back_from_plain_arrays(tmp_path: Path, exported: Any) -> None:
    alone = small().subset(states_alone=True)
    assert call("import", "arrays", exported("arrays", alone), "--out", tmp_path / "b.npz").exit_code == 0
    assert load(tmp_path / "b.npz").digest == alone.digest


@every
def test_nothing_is_overwritten(tmp_path: Path, exported: Any, name: str) -> None:
    path = exported(name)
    done = call("export", tmp_path / "mine.npz", name, path)
    assert done.exit_code == 2 and "already" in done.output


@every
def test_nonsense_is_refused(tmp_path: Path, exported: Any, name: str) -> None:
    assert "no such file" in refused(tmp_path / "nowhere", name)
    (tmp_path / "text").write_text("hello")
    refused(tmp_path / "text", name)
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", name)
    other = exported("robomimic" if name != "robomimic" else "arrays")
    said = refused(other, name)
    assert name in ("arrays", "robomimic") or "it is a file, and this format is a folder" in said


@every
def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path: Path, exported: Any, name: str) -> None:
    good = exported(name)
    files = [good] if good.is_file() else sorted(path for path in good.rglob("*") if path.is_file())
    rng = np.random.default_rng(0)
    for file in files:
        content = file.read_bytes()
        for trial in range(12):
            broken = bytearray(content)
            if trial < 4:
                broken = broken[: int(rng.integers(len(content)))]
            else:
                for position in rng.integers(len(content), size=3):
                    broken[position] ^= int(rng.integers(1, 256))
            file.write_bytes(broken)
            done = call("import", name, good, "--out", tmp_path / "out.npz", *REST)
            assert done.exit_code in (0, 2), done.output
            assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
            if done.exit_code == 2:
                assert len(done.output.strip().splitlines()) == 1
        file.write_bytes(content)


@every
def test_more_than_the_limit_is_not_read(exported: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported(name)
    module = __import__(f"envs.formats.{name}", fromlist=["read"])
    monkeypatch.setattr(common, "LIMIT", 100)
    monkeypatch.setattr(module, "Budget", lambda: common.Budget(100), raising=False)
    monkeypatch.setattr(module, "LIMIT", 100, raising=False)
    refused(path, name)


def test_an_arrow_file_whose_offsets_lead_nowhere_is_refused(exported: Any) -> None:
    """Asking for the size of such a batch before it was validated ended the process."""
    path = exported("imitation")
    file = path / "data-00000-of-00001.arrow"
    ends = np.cumsum([0, *(len(states) for states, _ in small().trajectories())], dtype=np.int32)
    content = file.read_bytes()
    assert content.count(ends.tobytes()) == 1
    file.write_bytes(content.replace(ends.tobytes(), np.array([*ends[:-1], 2**31 - 1], np.int32).tobytes()))
    arguments = ["import", "imitation", str(path), "--out", str(path.parent / "out.npz"), *REST]
    done = subprocess.run([sys.executable, "-m", "envs.formats", *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and "damaged" in done.stderr, done


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb").mkdir()
    rows = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2**27, np.float32)), 1)
    batch = pa.record_batch([pa.ListArray.from_arrays([0, len(rows)], rows)] * 2, names=["obs", "acts"])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    name = str(tmp_path / "bomb" / "a.arrow")
    with pa.OSFile(name, "wb") as file, pa.ipc.new_stream(file, batch.schema, options=options) as stream:
        stream.write_batch(batch)
    (tmp_path / "bomb" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "a.arrow"}]}))
    assert (tmp_path / "bomb" / "a.arrow").stat().st_size < 2**20
    monkeypatch.setattr(command, "limited_memory", partial(common.limited_memory, 2**28))
    assert "MemoryError" in refused(tmp_path / "bomb", "imitation")


@pytest.mark.parametrize(("name", "module"), [("minari", "h5py"), ("lerobot", "pyarrow"), ("imitation", "pyarrow")])
def test_without_its_library_a_format_says_how_to_install_it(
    exported: Any, name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(name)
    monkeypatch.setitem(sys.modules, module, None)
    assert "pip install h5py pyarrow" in call("import", name, path, "--out", path.parent / "out.npz").output


# Data sets of others


def test_minari_reads_what_is_written_and_is_read(
    tmp_path: Path, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari", reason="Minari is not installed")
    path = exported("minari")
    theirs = minari.dataset.minari_dataset.MinariDataset(path / "data")
    assert theirs.total_episodes == 3 and theirs.total_steps == 17
    for episode, (states, actions) in zip(theirs.iterate_episodes(), small().trajectories(), strict=True):
        np.testing.assert_array_equal(episode.observations, states)
        np.testing.assert_array_equal(episode.actions, actions)


def hdf5(path: Path, **members: Any) -> Path:
    """A file with members by their path, "__" for "/"."""
    with h5py.File(path, "w") as file:
        for name, value in members.items():
            file[name.replace("__", "/")] = value
    return path


def test_minari_groups_of_observations_are_joined_by_name_or_as_asked(tmp_path: Path) -> None:
    folder = tmp_path / "theirs" / "data"
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps({"env_spec": json.dumps({"id": "Their-v3"})}))
    position, goal = np.arange(8.0).reshape(4, 2), np.arange(4.0)
    for number in (10, 2):
        with h5py.File(folder / "main_data.hdf5", "a") as file:
            file[f"episode_{number}/observations/position"] = position + number
            file[f"episode_{number}/observations/goal"] = goal
            file[f"episode_{number}/actions"] = np.ones((3, 1))
    out = tmp_path / "out.npz"
    assert call("import", "minari", tmp_path / "theirs", "--out", out, "--dt", 0.5).exit_code == 0
    joined = load(out)
    assert joined.task == "Their-v3" and joined.observations[0].tolist() == [0, 2, 3], "goal, position; episode 2 first"
    keys = ("--observations", "position")
    assert call("import", "minari", tmp_path / "theirs", "--out", out, "--dt", 0.5, *keys).exit_code == 0
    assert load(out).observations.shape == (8, 2) and load(out).origin["observations"] == ["position"]
    assert "has no 'speed'" in refused(tmp_path / "theirs", "minari", "--observations", "speed")
    done = call("import", "minari", tmp_path / "theirs", "--out", tmp_path / "no.npz")
    assert done.exit_code == 2 and "give --dt" in done.output


def test_robomimic_s_last_state_comes_from_next_obs(tmp_path: Path) -> None:
    states = np.arange(10.0).reshape(5, 2)
    with_next = {"data__demo_0__obs__p": states[:-1], "data__demo_0__next_obs__p": states[1:]}
    path = hdf5(tmp_path / "a.hdf5", **with_next, data__demo_0__actions=np.ones((4, 1)))
    with h5py.File(path, "a") as file:
        arguments = {"env_name": "Their-v3", "type": 2, "env_kwargs": {"control_freq": 20}}
        file["data"].attrs["env_args"] = json.dumps(arguments)
    done = call("import", "robomimic", path, "--out", tmp_path / "out.npz")
    made = load(tmp_path / "out.npz")
    assert made.observations.tolist() == states.tolist() and (made.dt, made.task) == (0.05, "Their-v3")
    assert "note" not in done.output
    path = hdf5(tmp_path / "b.hdf5", data__demo_0__obs__p=states, data__demo_0__actions=np.ones((5, 1)))
    done = call("import", "robomimic", path, "--out", tmp_path / "out.npz", *REST)
    assert len(load(tmp_path / "out.npz").observations) == 5 and "last action" in done.output


def test_hdf5_links_objects_and_other_shapes_are_refused(tmp_path: Path) -> None:
    actions, states = np.ones((4, 1)), np.ones((4, 2))
    secret = hdf5(tmp_path / "secret.hdf5", secret=np.ones((4, 2)))
    for number, (value, message) in enumerate(
        [
            (h5py.ExternalLink(str(secret), "secret"), "link to another place"),
            (h5py.SoftLink("/data"), "link to another place"),
            (np.array(["text"] * 4, dtype=h5py.string_dtype()), "numbers, one row per step"),
            (np.zeros((4, 8, 8, 3), np.uint8), "numbers, one row per step"),
            (np.full((4, 2), np.nan), "not finite"),
            (np.ones((9, 2)), "one observation more"),
        ]
    ):
        path = hdf5(tmp_path / f"{number}.hdf5", data__demo_0__obs__p=value, data__demo_0__actions=actions)
        assert message in refused(path, "robomimic"), message
    layout = h5py.VirtualLayout((4, 2), float)
    layout[:] = h5py.VirtualSource(str(secret), "secret", (4, 2))
    path = hdf5(tmp_path / "virtual.hdf5", data__demo_0__actions=actions)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("data/demo_0/obs/p", layout)
    assert "in another file" in refused(path, "robomimic")
    with h5py.File(path, "w") as file:
        file["data/demo_0/actions"] = actions
        file.create_dataset("data/demo_0/obs/p", (2**40, 2), chunks=(1024, 2), compression="gzip")
    assert "the most that is read" in refused(path, "robomimic")
    assert np.array_equal(states, np.ones((4, 2)))


def test_hugging_face_reads_what_is_written_and_is_read(tmp_path: Path, exported: Any) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    theirs = datasets.load_from_disk(str(exported("imitation")))
    for row, (states, actions) in zip(theirs, small().trajectories(), strict=True):
        np.testing.assert_array_equal(np.array(row["obs"], np.float32), states)
        np.testing.assert_array_equal(np.array(row["acts"], np.float32), actions)
    mark = tmp_path / "mark"
    evil = json.dumps({"py/reduce": [{"py/function": "builtins.open"}, {"py/tuple": [str(mark), "w"]}]})
    given = {"obs": [[[0.0], [1.0], [2.0]]], "acts": [[[1.0], [2.0]]], "infos": [[evil, evil]], "terminal": [True]}
    datasets.Dataset.from_dict(given).save_to_disk(str(tmp_path / "theirs"))
    assert call("import", "imitation", tmp_path / "theirs", "--out", tmp_path / "o.npz", *REST).exit_code == 0
    assert load(tmp_path / "o.npz").observations[:, 0].tolist() == [0, 1, 2] and not mark.exists()
    for change in ({"obs": [[[0.0], [1.0, 2.0], [2.0]]]}, {"obs": [None]}, {"obs": [[["a"], ["b"], ["c"]]]}):
        shutil.rmtree(tmp_path / "theirs")
        datasets.Dataset.from_dict(given | change).save_to_disk(str(tmp_path / "theirs"))
        refused(tmp_path / "theirs", "imitation")
    state = tmp_path / "theirs" / "state.json"
    state.write_text(json.dumps({"_data_files": [{"filename": "../secret.arrow"}]}))
    assert "in the folder itself" in refused(tmp_path / "theirs", "imitation")


def test_a_lerobot_data_set_of_others_loses_its_last_action(tmp_path: Path, exported: Any) -> None:
    path = exported("lerobot")
    info = json.loads((path / "meta" / "info.json").read_text())
    assert info["total_frames"] == 20 and info["features"]["observation.state"]["shape"] == [3] and info["fps"] == 10
    table = pq.read_table(path / "data/chunk-000/file-000.parquet")
    assert table.num_rows == 20 and table["next.done"].to_pylist().count(True) == 3
    del info[common.OWN]
    (path / "meta" / "info.json").write_text(json.dumps(info))
    done = call("import", "lerobot", path, "--out", tmp_path / "out.npz", "--task", "peg")
    assert done.exit_code == 0 and "last action" in done.output
    assert load(tmp_path / "out.npz").dt == 0.1 and load(tmp_path / "out.npz").episodes == 3
    info["codebase_version"] = "v2.1"
    (path / "meta" / "info.json").write_text(json.dumps(info))
    assert "v3" in refused(path, "lerobot")


def test_arrays_by_hand(tmp_path: Path) -> None:
    good = {"observations": np.ones((5, 2)), "actions": np.ones((3, 1)), "lengths": [2, 1]}
    np.savez(tmp_path / "a.npz", **good)
    assert call("import", "arrays", tmp_path / "a.npz", "--out", tmp_path / "out.npz", *REST).exit_code == 0
    assert load(tmp_path / "out.npz").episodes == 2 and load(tmp_path / "out.npz").task == "PegInsertion-v0"
    own = ("--task", "tasks/mine.py:Slot-v0", "--dt", "0.1")
    assert call("import", "arrays", tmp_path / "a.npz", "--out", tmp_path / "out.npz", *own).exit_code == 0
    assert load(tmp_path / "out.npz").task == "Slot-v0"
    (tmp_path / "out.npz").unlink()
    for change, message in [
        ({"lengths": [2, 2]}, "ask for 6 rows: each counts an episode's actions, T, and there are T + 1 observations"),
        (
            {"observations": np.array([[0, 1]] * 4 + [[2, np.nan]])},
            "observations[1, 1] of episode 1 is not finite",
        ),
        ({"actions": np.array([[0], [np.inf], [0]])}, "actions[1, 0] of episode 0 is not finite (inf)"),
        ({"lengths": [-1, 4]}, "whole numbers"),
        ({"lengths": [0.5]}, "whole numbers"),
        ({"observations": np.array([object()])}, "is needed"),
    ]:
        np.savez(tmp_path / "a.npz", **{**good, **change})  # type: ignore[arg-type]
        assert message in refused(tmp_path / "a.npz", "arrays")
