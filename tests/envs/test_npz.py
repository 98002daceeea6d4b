"""Files of others: read as numbers or refused in one line, never executed, never unpacked without end."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest

from envs.npz import ArrayFileError, read_arrays, read_small

NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3)


def packed(array, **changes):
    """The bytes of an .npy file, whose description may claim something else."""
    buffer = io.BytesIO()
    described = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **changes}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue() + array.tobytes()


def archive(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("types", [{"a": "<f4", "b": "<i4", "c": "<f4"}, None])
def test_arrays_come_back_as_they_were(tmp_path, types):
    by_columns = np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3))
    np.savez_compressed(tmp_path / "a.npz", a=NUMBERS, b=by_columns)
    arrays = read_arrays(tmp_path / "a.npz", types)
    assert list(arrays) == ["a", "b"]
    assert np.array_equal(arrays["a"], NUMBERS) and np.array_equal(arrays["b"], by_columns)
    arrays["a"][0] = 7.0  # they are the reader's own


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npy", packed(NUMBERS, shape=(2**40, 2**40)), "claims the shape"),
        ("a.npy", packed(NUMBERS, shape=(2, 2)), "claims the shape"),
        ("a.npy", packed(NUMBERS, shape=(-2, -3)), "damaged|claims the shape"),
        ("a.npy", packed(NUMBERS, shape=(0, 2**70)), "damaged|claims the shape"),
        ("a.npy", packed(NUMBERS.astype(np.float64)), r"a is float64\[2, 3\]: float32 is needed"),
        ("a.npy", packed(NUMBERS, descr="|O"), "a is object"),
        ("a.npy", packed(NUMBERS, descr="x" * 9999), "damaged"),
        ("a.npy", packed(NUMBERS, shape="(" * 5000), "damaged"),
        ("a.npy", b"", "damaged"),
        ("a.npy", b"\x93NUMPY\x03\x00", "damaged"),
        ("../../escape.npy", packed(NUMBERS), r"it holds '../../escape'; arrays that belong here: a"),
        ("\x1b[2J.npy", packed(NUMBERS), r"it holds '\\x1b\[2J'"),
    ],
)
def test_what_does_not_belong_is_named(tmp_path, name, content, said):
    path = archive(tmp_path / "bad.npz", [(name, content)])
    with pytest.raises(ArrayFileError, match=said) as refused:
        read_arrays(path, {"a": "<f4"})
    assert len(str(refused.value).splitlines()) == 1 and str(refused.value).isprintable()


def test_names_and_objects_are_watched_where_any_name_is_allowed(tmp_path):
    with pytest.raises(ArrayFileError, match=r"it holds '\.\./a'"):
        read_arrays(archive(tmp_path / "name.npz", [("../a.npy", packed(NUMBERS))]))
    np.savez(tmp_path / "object.npz", a=np.array([print], dtype=object))
    with pytest.raises(ArrayFileError, match="a is object"):
        read_arrays(tmp_path / "object.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    path = archive(tmp_path / "twice.npz", [("a.npy", packed(NUMBERS)), ("a.npy", packed(NUMBERS))])
    with pytest.raises(ArrayFileError, match="two arrays of one name"):
        read_arrays(path, {"a": "<f4"})


def test_a_bomb_is_refused_by_what_it_unpacks_to(tmp_path):
    zeros = packed(np.zeros(2**22, np.float32))
    path = archive(tmp_path / "bomb.npz", [("a.npy", zeros)])
    assert path.stat().st_size < len(zeros) / 500
    with pytest.raises(ArrayFileError, match="unpacks to 16 MiB; at most 1 are read"):
        read_arrays(path, {"a": "<f4"}, limit=2**20)
    assert read_arrays(path, {"a": "<f4"})["a"].shape == (2**22,)


def test_a_bomb_that_understates_its_size_is_cut_there(tmp_path):
    path = archive(tmp_path / "bomb.npz", [("a.npy", packed(np.zeros(2**22, np.float32)))])
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 1000)  # the uncompressed size
    path.write_bytes(content)
    with pytest.raises(ArrayFileError, match="damaged"):  # its checksum is wrong by then
        read_arrays(path, {"a": "<f4"}, limit=2**20)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_unpack_at_once_are_refused(tmp_path, compression):
    path = archive(tmp_path / "odd.npz", [("a.npy", packed(NUMBERS))], compression)
    with pytest.raises(ArrayFileError, match=r"a is packed in an unusual way; save it with numpy\.savez_compressed"):
        read_arrays(path, {"a": "<f4"})


@pytest.mark.parametrize("read", [read_arrays, read_small])
def test_pipes_and_folders_are_refused_and_missing_files_are_the_callers_matter(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ArrayFileError, match="it is not a file"):
            read(place)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")


def test_small_files_are_small(tmp_path):
    (tmp_path / "small").write_bytes(b"12345")
    assert read_small(tmp_path / "small", limit=5) == b"12345"
    with pytest.raises(ArrayFileError, match="larger than 0 MiB"):
        read_small(tmp_path / "small", limit=4)
