"""The data set: what it accepts, its subsets, and files that are verified and cannot execute anything."""

import io
import json
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import envs
from envs.demonstrations import DemonstrationError, Demonstrations, load, load_task, save


def make(lengths=(3, 5, 4), **changes):
    """Episodes of so many actions whose observations tell episode and step."""
    episode = np.repeat(np.arange(len(lengths), dtype=np.int32), np.add(lengths, 1))
    time_step = np.concatenate([np.arange(length + 1, dtype=np.int32) for length in lengths])
    terminal = np.append(time_step[1:] == 0, True)
    observations = np.stack([episode, time_step], axis=1).astype(np.float32)
    fields = {
        "observations": observations,
        "actions": np.where(terminal[:, None], 0, observations + 1).astype(np.float32),
        "episode": episode,
        "time_step": time_step,
        "terminal": terminal,
        "dt": 0.1,
        "task": "PegInsertion-v0",
        "origin": {"seed": 0},
    }
    return Demonstrations(**{**fields, **changes})


def test_sizes_and_lengths():
    demonstrations = make()
    assert demonstrations.episodes == 3
    assert demonstrations.lengths == pytest.approx([0.3, 0.5, 0.4])


def test_pairs_leave_terminal_rows_out():
    observations, actions = make().pairs()
    assert len(observations) == len(actions) == 12
    assert np.array_equal(actions, observations + 1)


def test_first_episodes_and_later_ones_are_numbered_from_zero():
    first, rest = make().subset(episodes=1), make().subset(start=1)
    assert first.episodes == 1 and len(first.observations) == 4
    assert rest.episodes == 2 and rest.episode[0] == 0 and rest.observations[0].tolist() == [1, 0]


def test_every_nth_state_keeps_the_last_one():
    thinned = make().subset(every=3)
    assert thinned.time_step.tolist() == [0, 3, 0, 3, 5, 0, 3, 4]
    assert thinned.lengths == pytest.approx([0.3, 0.5, 0.4])
    assert thinned.pairs()[1].tolist() == [[1, 1], [2, 1], [2, 4], [3, 1], [3, 4]]


def test_final_states_only_have_no_actions():
    final = make().subset(final_only=True)
    assert final.time_step.tolist() == [3, 5, 4] and final.actions is None and final.terminal.all()


def test_states_alone_have_no_pairs():
    alone = make().subset(states_alone=True)
    assert alone.actions is None and len(alone.observations) == 15
    with pytest.raises(DemonstrationError, match="states alone"):
        alone.pairs()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"episodes": 4}, "4 episodes from episode 0 on: 1 to 3 are there"),
        ({"episodes": 0}, "0 episodes"),
        ({"episodes": 3, "start": 1}, "3 episodes from episode 1 on: 1 to 2"),
        ({"start": 3}, "start is 3.*0 to 2"),
        ({"start": -1}, "start is -1"),
        ({"every": 0}, "every is 0"),
    ],
)
def test_impossible_subsets_are_refused(arguments, message):
    with pytest.raises(DemonstrationError, match=message):
        make().subset(**arguments)


def test_the_digest_covers_every_field_and_subsets_record_themselves():
    original = make()
    others = [
        replace(original, observations=original.observations + np.float32(1e-6)),
        replace(original, actions=None),
        replace(original, dt=0.2),
        replace(original, task="ClipInsertion-v0"),
        replace(original, origin={"seed": 1}),
        original.subset(),
        original.subset(episodes=2),
    ]
    assert len({original.digest, *(other.digest for other in others)}) == len(others) + 1
    assert make().digest == original.digest
    assert original.subset(episodes=2).subset(every=2).origin["subsets"][1]["every"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": np.zeros((15, 2))}, "observations is float64"),
        ({"observations": np.full((15, 2), np.nan, np.float32)}, "observations holds numbers that are not finite"),
        ({"actions": np.zeros((14, 2), np.float32)}, "15 rows"),
        ({"actions": np.ones((15, 2), np.float32)}, "terminal rows must be zero"),
        ({"episode": np.zeros(15, np.int64)}, "episode is int64"),
        ({"episode": np.arange(15, dtype=np.int32) % 3}, "rise by one"),
        ({"terminal": np.zeros(15, bool)}, "terminal must be True on the last row"),
        ({"time_step": np.zeros(15, np.int32)}, "time_step must rise"),
        ({"dt": 0.0}, "dt is 0.0"),
        ({"dt": float("nan")}, "dt is nan"),
        ({"dt": "1" * 10_000}, r"dt is '1{39}: a positive"),
    ],
)
def test_inconsistent_data_is_refused(changes, message):
    with pytest.raises(DemonstrationError, match=message):
        make(**changes)


def test_an_empty_set_is_refused():
    empty = {name: array[:0] for name, array in make()._arrays().items()}
    with pytest.raises(DemonstrationError, match="empty"):
        make(**empty)


@pytest.mark.parametrize("variant", [{}, {"states_alone": True}, {"final_only": True}, {"every": 2}])
def test_files_give_back_what_was_saved_and_are_reproducible(tmp_path, variant):
    demonstrations = make().subset(**variant)
    save(demonstrations, tmp_path / "a.npz")
    save(demonstrations, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = load(tmp_path / "a.npz")
    assert loaded.digest == demonstrations.digest and loaded.origin == demonstrations.origin
    assert (loaded.actions is None) == (demonstrations.actions is None)


def test_an_unwritable_place_is_refused(tmp_path):
    with pytest.raises(DemonstrationError, match="cannot be written"):
        save(make(), tmp_path / "missing" / "a.npz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DemonstrationError, match=r"nowhere\.npz: no such file"):
        load(tmp_path / "nowhere.npz")


def rewrite(path, **members):
    """Replaces members of an archive by arrays or raw bytes; None removes one."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for name, value in members.items():
        if isinstance(value, np.ndarray):
            buffer = io.BytesIO()
            np.save(buffer, value, allow_pickle=True)
            value = buffer.getvalue()
        content[f"{name}.npy"] = value
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            if value is not None:
                archive.writestr(name, value)


def header(**fields):
    return np.frombuffer(json.dumps(fields).encode(), np.uint8)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"observations": make().observations + 1}, "does not match its digest"),
        ({"actions": None}, "does not match its digest"),
        ({"time_step": None}, "damaged"),
        ({"header": None}, "damaged"),
        ({"header": header(task="PegInsertion-v0")}, "damaged"),
        ({"header": header(format=2)}, "format 2, this version reads 1"),
        ({"header": np.frombuffer(b"{", np.uint8)}, "damaged"),
        ({"header": np.frombuffer(b"[1]", np.uint8)}, "damaged"),
        ({"episode": make().episode.astype(np.int64)}, "episode is int64"),
        ({"observations": np.zeros(15, np.float32)}, "observations is float32"),
        ({"terminal": b"nonsense"}, "damaged"),
    ],
)
def test_changed_files_are_refused(tmp_path, members, message):
    path = tmp_path / "changed.npz"
    save(make(), path)
    rewrite(path, **members)
    with pytest.raises(DemonstrationError, match=rf"changed\.npz: .*{message}"):
        load(path)


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bits_are_never_read_as_data(tmp_path, seed):
    path = tmp_path / "flipped.npz"
    save(make(), path)
    content = bytearray(path.read_bytes())
    position = np.random.default_rng(seed).integers(len(content))
    content[position] ^= 0xFF
    path.write_bytes(content)
    try:
        loaded = load(path)
    except DemonstrationError:
        return
    assert loaded.digest == make().digest  # a byte that no one reads, such as a time stamp


@pytest.mark.parametrize("size", [0, 1, 100, 1000])
def test_truncated_files_are_refused(tmp_path, size):
    path = tmp_path / "short.npz"
    save(make(), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DemonstrationError, match=r"short\.npz: it is damaged"):
        load(path)


class Payload:
    """Leaves a mark when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("member", ["header", "observations", "terminal"])
def test_a_hidden_pickle_is_refused_and_not_executed(tmp_path, member):
    path, mark = tmp_path / "evil.npz", tmp_path / "mark"
    save(make(), path)
    rewrite(path, **{member: np.array([Payload(mark)], dtype=object)})
    with pytest.raises(DemonstrationError, match=r"evil\.npz"):
        load(path)
    path.write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(DemonstrationError, match=r"evil\.npz"):
        load(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", list(envs.TASKS))
def test_a_hundred_demonstrations_ship_with_each_task(name):
    demonstrations = load_task(name)
    assert demonstrations.episodes == 100 and demonstrations.task == envs.TASKS[name]
    assert load_task(envs.TASKS[name]).digest == demonstrations.digest
    assert demonstrations.observations.shape[1] == (28 if name == "clip" else 21) and demonstrations.dt == 0.1
    assert (demonstrations.actions is not None) == (name in envs.WITH_ACTIONS)
    if demonstrations.actions is not None:
        assert demonstrations.actions.shape[1] == 7 and np.abs(demonstrations.actions).max() <= 1


def test_other_tasks_ship_none():
    with pytest.raises(DemonstrationError, match=r"'screw'.*clip, peg"):
        load_task("screw")
