"""The data set: what it accepts, its subsets, and files that are verified and cannot execute anything."""

import io
import json
import pickle
import zipfile
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import envs
from envs.demonstrations import DemonstrationError, Demonstrations, Statistics, load, load_task, save

PEG_DIGEST = "1da84a244a62c100"


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
        ({"episodes": 4}, "episodes = 4 from episode 0 on: 1 to 3 are there"),
        ({"episodes": 0}, "episodes = 0"),
        ({"episodes": 3, "start": 1}, "episodes = 3 from episode 1 on: 1 to 2"),
        ({"start": 3}, "start is 3.*0 to 2"),
        ({"start": -1}, "start is -1"),
        ({"every": 0}, "every is 0"),
        ({"every": 10**30}, "every is 10+: a whole number from 1 to"),
        ({"every": 5, "offset": 5}, "offset is 5: with every = 5, 0 to 4 is allowed"),
        ({"offset": 1}, "offset is 1: with every = 1, 0 to 0"),
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
        ({"observations": [[0.0, 0.0]] * 15}, "observations is of type list: a NumPy array is needed"),
        ({"observations": None}, "observations is of type NoneType"),
        ({"observations": np.float32(0.0)}, "observations is of type float32"),
        ({"observations": np.array(0.0, np.float32)}, r"observations is float32\[\]"),
        ({"observations": np.matrix(np.zeros((15, 2), np.float32))}, "observations is of type matrix"),
        ({"observations": np.ma.array(np.zeros((15, 2), np.float32))}, "observations is of type MaskedArray"),
        ({"actions": [[0.0, 0.0]] * 15}, "actions is of type list"),
        ({"episode": 0}, "episode is of type int"),
        ({"terminal": None}, "terminal is of type NoneType"),
        ({"recorded": (0.0, 1.0)}, "recorded is tuple: Statistics are needed"),
        ({"dt": 0.0}, "dt is 0.0"),
        ({"dt": float("nan")}, "dt is nan"),
        ({"dt": "1" * 10_000}, r"dt is '1{39}: a positive"),
    ],
)
def test_inconsistent_data_is_refused(changes, message):
    with pytest.raises(DemonstrationError, match=message):
        make(**changes)


class Kind(Enum):
    SLOW = "slow"


@dataclass
class Operator:
    name: str
    hours: np.int64


@pytest.mark.parametrize(
    ("origin", "plain"),
    [
        ({"seed": np.int64(3), "rate": np.float32(0.5), "ok": np.True_}, {"seed": 3, "rate": 0.5, "ok": True}),
        ({"tries": {2: 1, 10: 3}}, {"tries": {"2": 1, "10": 3}}),
        ({"mixed": {1: "a", "b": 2, None: 3, False: 4, 2.5: 5}},
         {"mixed": {"1": "a", "b": 2, "null": 3, "false": 4, "2.5": 5}}),
        ({"file": Path("a") / "b", Path("c"): 1}, {"file": "a/b", "c": 1}),
        ({"gains": np.array([[1, 2], [3, 4]]), "one": np.array(0.5)}, {"gains": [[1, 2], [3, 4]], "one": 0.5}),
        ({"pair": (1, {3, 2}), "name": np.str_("x")}, {"pair": [1, [2, 3]], "name": "x"}),
        ({"at": datetime(2026, 1, 2, 3, 4, 5), "day": date(2026, 1, 2)},
         {"at": "2026-01-02T03:04:05", "day": "2026-01-02"}),
        ({"kind": Kind.SLOW, Kind.SLOW: 1, "by": Operator("Ada", np.int64(2))},
         {"kind": "slow", "slow": 1, "by": {"name": "Ada", "hours": 2}}),
        ({"loss": float("nan"), "limit": np.inf, "share": Fraction(1, 4)},
         {"loss": "nan", "limit": "inf", "share": 0.25}),
        ({"text": "ä\ud800\n\x00"}, {"text": "ä\ud800\n\x00"}),
    ],
)  # fmt: skip
def test_an_origin_becomes_plain_json_that_files_give_back(tmp_path, origin, plain):
    demonstrations = make(origin=origin)
    assert demonstrations.origin == plain
    save(demonstrations, tmp_path / "a.npz")
    loaded = load(tmp_path / "a.npz")
    assert loaded.origin == plain and loaded.digest == demonstrations.digest


def test_an_origin_that_json_cannot_hold_is_refused_before_anything_is_lost():
    endless: dict = {}
    endless["itself"] = endless
    for origin, message in [
        ({"camera": {"driver": object()}}, r"origin\['camera'\]\['driver'\] is of type object"),
        ({"a": [1, b"raw"]}, r"origin\['a'\]\[1\] is of type bytes"),
        ({(1, 2): 3}, "has the key"),
        ({1: "a", "1": "b"}, "two keys that read '1'"),
        (endless, "holds itself"),
        ({"n": 10**5000}, "more than 1024 bits"),
        ({"z": 1j}, "of type complex"),
        ([("seed", 1)], "a dictionary is needed"),
        ({"subsets": 3}, "no list"),
    ]:
        with pytest.raises(DemonstrationError, match=message):
            make(origin=origin)


def test_the_caller_s_origin_is_neither_changed_nor_shared():
    origin = {"tries": {2: [1]}}
    demonstrations = make(origin=origin)
    origin["tries"][2].append(5)
    assert demonstrations.origin == {"tries": {"2": [1]}} and origin == {"tries": {2: [1, 5]}}


@pytest.mark.parametrize(
    ("dt", "wanted"),
    [
        *[(np.float32(0.1), 0.1), (np.float64(0.1), 0.1), (np.int64(2), 2), (np.array(0.05), 0.05), (1, 1)],
        *[(np.array(0.1, np.float32), 0.1), (np.longdouble("0.1"), 0.1), (Fraction(1, 10), 0.1)],
    ],
)
def test_dt_may_be_any_number(tmp_path, dt, wanted):
    save(make(dt=dt), tmp_path / "a.npz")
    assert load(tmp_path / "a.npz").dt == wanted and type(make(dt=dt).dt) is type(wanted)


def test_numpy_s_whole_numbers_choose_subsets_and_fractions_do_not():
    assert make().subset(np.int64(2), start=np.int32(1), every=np.uint8(3), final_only=np.False_).episodes == 2
    for arguments in ({"episodes": 2.0}, {"episodes": True}, {"episodes": "2"}, {"start": 0.5}, {"every": None}):
        with pytest.raises(DemonstrationError, match="a whole number is needed"):
            make().subset(**arguments)


def test_episodes_may_be_chosen_one_by_one_in_any_order(tmp_path):
    chosen = make().subset(episodes=[2, 0])
    assert chosen.observations[:, 0].tolist() == [2] * 5 + [0] * 4
    assert chosen.episode.tolist() == [0] * 5 + [1] * 4 and chosen.time_step[5] == 0
    assert chosen.origin["subsets"][0]["episodes"] == [2, 0]
    assert make().subset(episodes=np.array([2, 0])).digest == chosen.digest
    thinned = make().subset(episodes=(2, 0), every=3)
    assert thinned.time_step.tolist() == [0, 3, 4, 0, 3] and thinned.pairs()[1][:, 0].tolist() == [3, 3, 1]
    assert make().subset(episodes=[2], final_only=True).observations.tolist() == [[2, 4]]
    save(chosen, tmp_path / "a.npz")
    assert load(tmp_path / "a.npz").digest == chosen.digest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"episodes": [0, 3]}, "episode 3 is not there: 0 to 2 are"),
        ({"episodes": [-1]}, "episode -1 is not there"),
        ({"episodes": [1, 0, 1]}, "episode 1 is listed twice"),
        ({"episodes": []}, "empty"),
        ({"episodes": [0.5]}, "an episode is 0.5: a whole number"),
        ({"episodes": [1], "start": 1}, "give one of the two"),
    ],
)
def test_impossible_lists_of_episodes_are_refused(arguments, message):
    with pytest.raises(DemonstrationError, match=message):
        make().subset(**arguments)


def test_statistics_are_those_of_the_chosen_episodes_as_recorded(tmp_path):
    """However few of their states are shown; episodes that are not shown do not count."""
    whole = make()
    second, two = whole.subset(episodes=[1]), whole.subset(episodes=2)
    final = two.subset(final_only=True)
    cases = [
        (whole, whole),
        (second, second),
        (final, two),
        (second.subset(final_only=True), second),
        (second.subset(every=2), second),
        (final.subset(episodes=[1]), two),
    ]
    for shown, recorded in cases:
        save(shown, tmp_path / "a.npz")
        for one in (shown, load(tmp_path / "a.npz")):
            exact = recorded.observations.astype(np.float64)
            assert one.statistics.mean.dtype == one.statistics.std.dtype == np.float64
            np.testing.assert_array_equal(one.statistics.mean, exact.mean(axis=0))
            np.testing.assert_array_equal(one.statistics.std, exact.std(axis=0))
    assert second.recorded is None and len(second.observations) < len(whole.observations)
    assert replace(final, recorded=None).digest != final.digest, "the digest covers the statistics"
    for bad in (Statistics(np.zeros(3), np.zeros(3)), Statistics(np.zeros(2), np.array([1.0, -1.0]))):
        with pytest.raises(DemonstrationError, match="recorded"):
            make(recorded=bad)


def test_arrays_cannot_be_changed_through_the_data_set():
    mine = make()._arrays()
    mine = {name: array.copy() for name, array in mine.items()}
    demonstrations = make(**mine)
    for name in ("observations", "actions", "episode", "time_step", "terminal"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(demonstrations, name)[0] = 1
        mine[name][0] = mine[name][0]  # the caller's own arrays stay as they were


def test_trajectories_come_from_arrays_in_memory_and_go_back():
    made = [([[0.0, 1], [2, 3], [4, 5]], [[1], [2]]), (np.ones((2, 2), np.float64), np.array([[3]], np.int64))]
    demonstrations = Demonstrations.from_trajectories(made, "PegInsertion-v0", dt=0.1, origin={"by": "hand"})
    assert demonstrations.time_step.tolist() == [0, 1, 2, 0, 1] and demonstrations.episode.tolist() == [0, 0, 0, 1, 1]
    assert demonstrations.actions.tolist() == [[1], [2], [0], [3], [0]] and demonstrations.origin == {"by": "hand"}
    back = Demonstrations.from_trajectories(demonstrations.trajectories(), "PegInsertion-v0", 0.1, {"by": "hand"})
    assert back.digest == demonstrations.digest
    alone = Demonstrations.from_trajectories([(states, None) for states, _ in made], "PegInsertion-v0", 0.1)
    assert alone.actions is None and [actions for _, actions in alone.trajectories()] == [None, None]
    ends = Demonstrations.from_trajectories([(np.ones((1, 2)), None)] * 2, "PegInsertion-v0", 0.1)
    assert ends.terminal.all() and ends.episodes == 2
    short = Demonstrations.from_trajectories(
        [(np.ones((1, 2)), np.ones((0, 3))), (np.ones((2, 2)), [[1, 2, 3]])], "t", 1
    )
    assert short.actions.shape == (3, 3)


@pytest.mark.parametrize(
    ("trajectories", "message"),
    [
        ([], "there is no trajectory"),
        ([(np.ones((3, 2)), np.ones((3, 1)))], "3 observations and 3 actions: one observation more"),
        ([(np.ones((3, 2)), np.ones((2, 1))), (np.ones((3, 2)), None)], "1 of 2 trajectories have no actions"),
        ([(np.ones((3, 2)), np.ones((2, 1))), (np.ones((3, 4)), np.ones((2, 1)))], "observations of 2 and 4 numbers"),
        ([(np.ones((3, 2)), np.ones((2, 1))), (np.ones((3, 2)), np.ones((2, 5)))], "actions of 1 and 5 numbers"),
        ([(np.ones(3), None)], "one row per step"),
        ([(np.ones((0, 3)), None)], "has no observation"),
        ([([[1, 2], [3]], None)], "no array of numbers"),
        ([([["a"]], None)], "numbers are needed"),
        ([(np.array([[object()]]), None)], "numbers are needed"),
        ([(np.ma.array(np.ones((2, 1)), mask=[[0], [1]]), None)], "hold masked values"),
        ([(np.full((2, 1), 1e300), None)], "not finite"),
        ([(np.full((2, 1), np.nan), None)], "not finite"),
        (None, "trajectories is NoneType: one pair"),
        (7, "trajectories is int: one pair"),
        ([np.ones((3, 2))], "trajectory 0 is ndarray of length 3: one pair"),
        ([np.ones((2, 2))], "one row per step"),
        ([np.array(1.0)], "trajectory 0 is ndarray: one pair"),
        (
            [(np.ones((1, 2)), None), (np.ones((2, 2)), np.ones((1, 1)), np.ones(1))],
            "trajectory 1 is tuple of length 3",
        ),
        ([None], "trajectory 0 is NoneType: one pair"),
        ({"observations": np.ones((3, 2)), "actions": np.ones((2, 1))}, "trajectory 0 is str of length 12"),
    ],
)
def test_impossible_trajectories_are_refused(trajectories, message):
    with pytest.raises(DemonstrationError, match=message):
        Demonstrations.from_trajectories(trajectories, "PegInsertion-v0", 0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"origin": [1]}, "origin is list: a dictionary"),
        ({"origin": []}, "origin is list: a dictionary"),
        ({"origin": "by hand"}, "origin is str: a dictionary"),
        ({"task": ""}, "task is '': a Gymnasium id"),
        ({"task": " X v0 "}, "task is ' X v0 ': a Gymnasium id"),
        ({"task": 5}, "task is '5': a Gymnasium id"),
        ({"dt": 0}, "dt is 0: a positive number"),
        ({"dt": None}, "dt is None: a positive number"),
        ({"dt": 10**400}, "dt is 1000"),
        ({"dt": np.float16(np.inf)}, "dt is np.float16"),
    ],
)
def test_trajectories_with_an_invalid_task_rate_or_origin_are_refused(wrong, message):
    with pytest.raises(DemonstrationError, match=message):
        Demonstrations.from_trajectories([(np.ones((2, 1)), None)], **{"task": "t", "dt": 0.1, **wrong})


def test_an_older_file_stays_where_saving_fails(tmp_path, monkeypatch):
    save(make(), tmp_path / "a.npz")
    before = (tmp_path / "a.npz").read_bytes()
    monkeypatch.setattr(np, "savez_compressed", lambda file, **arrays: file.write(b"half of it"))
    with pytest.raises(DemonstrationError, match="damaged"):
        save(make(dt=0.2), tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["a.npz"]


def test_subsets_of_files_of_before_have_the_same_digest_as_ever():
    """Records name the digests of whole files; they were made before statistics were kept."""
    assert load_task("peg").recorded is None and load_task("peg").digest.startswith(PEG_DIGEST)


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
    assert demonstrations.observations.shape[1] == (28 if name.startswith("clip") else 21) and demonstrations.dt == 0.1
    assert (demonstrations.actions is not None) == (name in envs.WITH_ACTIONS)
    if demonstrations.actions is not None:
        assert demonstrations.actions.shape[1] == 7 and np.abs(demonstrations.actions).max() <= 1


def test_other_tasks_ship_none():
    with pytest.raises(DemonstrationError, match=r"'screw'.*clip, peg"):
        load_task("screw")
