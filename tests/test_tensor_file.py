from __future__ import annotations

import json
import os
import re
import resource
import struct
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.tensor_file import read_tensor_file, tensor_file_bytes, write_tensor_file

WHAT = "a box (.box)"
TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool]
TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.tensor([True, False]),
    "c": torch.ones(0),
}
HEADER = {"format_version": 1, "name": "Zoë", "list": [1, 2.5, None, True], "nested": {"deep": [{}]}}
FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tensor_file(tmp_path / "a.box", TENSORS, HEADER, "box")
    return tmp_path / "a.box"


def refused(path: Path, max_bytes: int = 2**36) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_tensor_file(path, "box", WHAT, max_bytes)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert WHAT in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 500
    return message


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Equal in names, types, shapes and bits."""

    def bits(value: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
        contiguous = torch.empty(value.shape, dtype=value.dtype).copy_(value)
        return value.dtype, value.shape, contiguous.reshape(-1).view(torch.uint8).numpy().tobytes()

    return {k: bits(v) for k, v in a.items()} == {k: bits(v) for k, v in b.items()}


# Round trips


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (7,), (2, 3, 4), (1, 0, 2**40)])
def test_every_type_and_shape_comes_back(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    value = torch.randint(0, 2, shape).to(dtype)
    size = write_tensor_file(tmp_path / "a", {"x": value, "odd": torch.ones(3, dtype=torch.uint8)}, {}, "box")
    assert size == (tmp_path / "a").stat().st_size
    header, read = read_tensor_file(tmp_path / "a", "box", WHAT)
    assert header == {}
    assert same(read, {"x": value, "odd": torch.ones(3, dtype=torch.uint8)})


@FOLDER
@given(
    st.dictionaries(
        st.text(max_size=5).filter(lambda name: name != "__metadata__"),
        arrays.arrays(
            st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
            arrays.array_shapes(min_dims=0, min_side=0, max_side=4),
        ),
        max_size=4,
    ),
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=6,
        ),
        max_size=4,
    ),
)
def test_any_content_comes_back_and_is_what_safetensors_reads(
    tmp_path: Path, contents: dict[str, Any], header: dict[str, Any]
) -> None:
    tensors = {name: torch.from_numpy(value) for name, value in contents.items()}
    write_tensor_file(tmp_path / "a", tensors, header, "box")
    read_header, read = read_tensor_file(tmp_path / "a", "box", WHAT)
    assert read_header == header
    assert same(read, tensors)
    assert same(safetensors.torch.load_file(tmp_path / "a"), tensors)
    with safetensors.safe_open(tmp_path / "a", framework="pt") as file:
        assert list(file.metadata()) == ["box"]
        assert {k: v for k, v in json.loads(file.metadata()["box"]).items() if k != "sha256"} == header


def test_the_same_content_is_the_same_bytes_in_any_order_of_the_tensors() -> None:
    data = tensor_file_bytes(TENSORS, HEADER, "box")
    assert tensor_file_bytes(dict(reversed(TENSORS.items())), HEADER, "box") == data


def test_the_tensors_come_back_in_the_order_of_the_file(tmp_path: Path) -> None:
    tensors = {name: torch.ones(1, dtype=dtype) for name, dtype in zip("hgfedcba", TYPES, strict=True)}
    write_tensor_file(tmp_path / "a", tensors, {}, "box")
    data = (tmp_path / "a").read_bytes()
    described = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    _, read = read_tensor_file(tmp_path / "a", "box", WHAT)
    assert list(read) == [name for name in described if name != "__metadata__"]


def test_views_and_gradients_are_written_as_their_values(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4).requires_grad_()
    write_tensor_file(tmp_path / "a", {"t": whole.T, "s": whole[:, 1]}, {}, "box")
    _, read = read_tensor_file(tmp_path / "a", "box", WHAT)
    assert same(read, {"t": whole.detach().T, "s": whole.detach()[:, 1]})


def test_what_is_read_can_be_changed_and_the_file_stays(path: Path) -> None:
    before = path.read_bytes()
    _, tensors = read_tensor_file(path, "box", WHAT)
    tensors["a"].add_(1)
    path.unlink()
    path.write_bytes(before)
    assert same(read_tensor_file(path, "box", WHAT)[1], TENSORS)


# What is not written


@pytest.mark.parametrize(
    "header",
    [{"x": float("nan")}, {"x": float("inf")}, {"sha256": "0"}, {"x": "y" * 2**24}, {1: 0, "1": 0}],
)
def test_a_header_that_could_not_be_read_back_is_not_written(header: dict[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"header|JSON"):
        write_tensor_file(tmp_path / "a", {}, header, "box")
    assert not list(tmp_path.iterdir())


def test_a_header_nested_too_deeply_is_not_written(tmp_path: Path) -> None:
    nested: Any = {}
    for _ in range(100):
        nested = {"x": nested}
    with pytest.raises(ValueError, match="nested too deeply"):
        write_tensor_file(tmp_path / "a", {}, nested, "box")


def test_a_type_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"tensor 'x' is torch.complex64"):
        write_tensor_file(tmp_path / "a", {"x": torch.zeros(1, dtype=torch.complex64)}, {}, "box")


# Damage


def test_a_missing_file_a_folder_a_pipe_and_a_device_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none")
    refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe")  # without waiting for a writer
    refused(Path("/dev/zero"))
    (tmp_path / "a").write_bytes(b"")
    assert "can't be read" in refused(tmp_path / "a" / "b")
    refused(tmp_path / ("x" * 1000))


def test_a_file_above_the_limit_is_refused_unread(path: Path) -> None:
    size = path.stat().st_size
    read_tensor_file(path, "box", WHAT, size)
    assert f"allowed are 8 to {size - 1}" in refused(path, size - 1)
    os.truncate(path, 2**40)  # a sparse file, which takes no space on the disk
    refused(path)


def test_a_file_cut_short_while_it_is_read_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensor_file(path, {"x": torch.zeros(10**6)}, {}, "box")
    fstat = os.fstat
    looks: list[int] = []

    def cut(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        looks.append(descriptor)
        if len(looks) == 2:  # the first call detects a regular file, the second its size
            os.truncate(path, 10**5)
        return status

    monkeypatch.setattr(os, "fstat", cut)
    assert "not fully covered" in refused(path)
    assert len(looks) == 2


def test_every_truncation_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        refused(path)
    path.write_bytes(data + b"\0")
    refused(path)


def test_no_flipped_bit_goes_unnoticed(path: Path) -> None:
    data = path.read_bytes()
    harmless = []
    for position in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            header, tensors = read_tensor_file(path, "box", WHAT)
        except InputError:
            continue
        assert header == HEADER
        assert same(tensors, TENSORS)
        harmless.append(chr(data[position // 8]))
    assert harmless == ["e", "b"]  # of \\u00eb, which \\u00EB is as well


@FOLDER
@given(st.data())
def test_random_damage_is_refused_or_changes_nothing(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(tensor_file_bytes(TENSORS, HEADER, "box"))
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(len(content), start + 20)))
        content[start:stop] = data.draw(st.binary(max_size=20))
    (tmp_path / "a").write_bytes(content)
    try:
        header, tensors = read_tensor_file(tmp_path / "a", "box", WHAT)
    except InputError:
        refused(tmp_path / "a")
    else:
        assert header == HEADER
        assert same(tensors, TENSORS)


@FOLDER
@given(st.binary(max_size=300))
def test_garbage_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    refused(tmp_path / "a")
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(data)) + data)
    refused(tmp_path / "a")


# Hostile headers


def assembled(described: object, data: bytes = b"", padding: bytes = b"") -> bytes:
    text = described if isinstance(described, bytes) else json.dumps(described).encode()
    return struct.pack("<Q", len(text) + len(padding)) + text + padding + data


def described(**changes: Any) -> dict[str, Any]:
    """The safetensors header of a sound file with the tensor `x` of 12 zeros as bytes, changed."""
    entry = {"dtype": "U8", "shape": [3, 4], "data_offsets": [0, 12]} | changes
    data = tensor_file_bytes({"x": torch.zeros(3, 4, dtype=torch.uint8)}, {}, "box")
    metadata = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]
    return {"__metadata__": metadata, "x": {name: value for name, value in entry.items() if value is not ...}}


def test_the_headers_that_are_changed_below_are_sound(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(assembled(described(), bytes(12), padding=b"   "))
    header, tensors = read_tensor_file(tmp_path / "a", "box", WHAT)
    assert header == {}
    assert same(tensors, {"x": torch.zeros(3, 4, dtype=torch.uint8)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "U9"}, "unknown variant `U9`"),
        ({"dtype": "F4"}, "invalid shape, data type, or offset"),
        ({"dtype": "U16", "shape": [6]}, "'x' is torch.uint16, allowed are torch.float64"),
        ({"dtype": "F8_E8M0"}, "dtype 'F8_E8M0', which torch lacks"),
        ({"dtype": ["U8"]}, "invalid type: sequence"),
        ({"dtype": "F32"}, "invalid shape, data type, or offset"),
        ({"dtype": ...}, "missing field `dtype`"),
        ({"shape": [3, 5]}, "invalid shape, data type, or offset"),
        ({"shape": [12.0]}, "invalid type: floating point"),
        ({"shape": [-3, -4]}, "invalid value: integer `-3`"),
        ({"shape": [12, True]}, "invalid type: boolean"),
        ({"shape": [12, "1"]}, "invalid type: string"),
        ({"shape": "12"}, "invalid type: string"),
        ({"shape": [1] * 10_000}, "invalid shape, data type, or offset"),
        ({"shape": [2**63]}, "overflow"),
        ({"shape": [2**62, 4]}, "overflow"),  # 2^64, which is 0 to a machine
        ({"shape": [0, 2**40, 2**40]}, "invalid shape, data type, or offset"),
        ({"shape": [2**40]}, "invalid shape, data type, or offset"),
        ({"shape": [10**4000]}, "number out of range"),
        ({"data_offsets": [0, 12, 12]}, "invalid length 3"),
        ({"data_offsets": [0]}, "invalid length 1"),
        ({"data_offsets": [12, 0]}, "invalid offset"),
        ({"data_offsets": [-12, 0]}, "invalid value: integer `-12`"),
        ({"data_offsets": [0, 10**4000]}, "number out of range"),
        ({"data_offsets": {"0": 12}}, "invalid type: map"),
        ({"data_offsets": [1, 13]}, "invalid offset"),
        ({"data_offsets": [2**62, 2**62 + 12]}, "invalid offset"),
        ({"dtype": "BOOL"}, "other bytes than 0 and 1"),
        ({"extra": [[[]]] * 3 + [2**70]}, "its checksum is wrong"),
    ],
)
def test_a_tensor_that_is_described_wrongly_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(assembled(described(**change), b"\2" * 12))
    assert message in refused(tmp_path / "a")


@pytest.mark.parametrize("offsets", [[6, 12], [0, 6], [11, 17], [13, 19], [2**62, 2**62 + 6]])
def test_overlapping_tensors_and_holes_are_refused(offsets: list[int], tmp_path: Path) -> None:
    header = described() | {"y": {"dtype": "U8", "shape": [6], "data_offsets": offsets}}
    (tmp_path / "a").write_bytes(assembled(header, bytes(max(12, min(offsets[1], 30)))))
    assert "invalid offset for tensor" in refused(tmp_path / "a")


@pytest.mark.parametrize("shape", [[2**62, 0, 4], [0, 2**63], [0] + [1] * 100_000, [1] * 100_000 + [12]])
def test_a_shape_that_no_tensor_can_have_is_refused(shape: list[int], tmp_path: Path) -> None:
    size = 0 if 0 in shape else 12
    (tmp_path / "a").write_bytes(assembled(described(shape=shape, data_offsets=[0, size]), bytes(size)))
    refused(tmp_path / "a")


def test_a_name_of_any_length_leaves_the_line_short(tmp_path: Path) -> None:
    header = described() | {"y" * 10**6: {"dtype": "U8", "shape": [1], "data_offsets": [3, 4]}}
    (tmp_path / "a").write_bytes(assembled(header, bytes(12)))
    refused(tmp_path / "a")


def test_nothing_of_the_size_that_a_header_tells_is_allocated(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(assembled(described(shape=[2**45], data_offsets=[0, 2**45]), bytes(12)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(tmp_path / "a")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**12  # KiB


@pytest.mark.parametrize("size", [11, 13, 0, 200])
def test_data_that_no_tensor_describes_is_refused(size: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(assembled(described(), bytes(size)))
    assert re.search("not fully covered|invalid offset", refused(tmp_path / "a"))


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    text = json.dumps(described())
    again = text[:-1] + ', "x": {"dtype": "U8", "shape": [12], "data_offsets": [0, 12]}}'
    (tmp_path / "a").write_bytes(assembled(again.encode(), bytes(12)))
    assert "a name twice" in refused(tmp_path / "a")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"{}x",
        b'{"__metadata__": {}}',
        b'{"__metadata__": null}',
        b'{"__metadata__": {"box": 3}}',
        b'{"__metadata__": {"box": {}}}',
        b'{"__metadata__": {"pox": "{}"}}',
        b'{"__metadata__": {"box": "{}", "more": "{}"}}',
        b'{"x": 3}',
        b'{"x": null}',
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"\xff": 1}',
        b'{"\xed\xa0\x80": 1}',
        b"[" * 100_000,
        b'{"x":' * 100_000,
        b'{"x": ' + b"9" * 5000 + b"}",
        b'{"x": -1e999}',
    ],
)
def test_headers_that_are_none_are_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(assembled(text))
    refused(tmp_path / "a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "3",
        "[]",
        "{}",
        '{"sha256": null}',
        '{"sha256": NaN}',
        '{"sha256": 1e400}',
        '{"sha256": -Infinity}',
        '{"a": 1, "a": 1}',
        "\ud800",
        '{"sha256": "\\ud800"}',
        "{\n\n'a': 1}",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a":' + "[" * 100 + "]" * 100 + "}",
        '{"a":' + "9" * 5000 + "}",
    ],
)
def test_headers_of_our_own_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(assembled({"__metadata__": {"box": text}}))
    refused(tmp_path / "a")


@pytest.mark.parametrize("length", [2**24 + 1, 2**31, 2**32, 2**63, 2**64 - 1, 2**64 - 8])
def test_a_header_length_beyond_the_file_or_the_limit_is_refused(length: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(struct.pack("<Q", length) + bytes(100))
    os.truncate(tmp_path / "a", 2**25)
    assert "allowed are 16777216" in refused(tmp_path / "a")


def test_another_kind_of_file_is_refused(path: Path) -> None:
    write_tensor_file(path, TENSORS, HEADER, "other")
    assert "without the metadata 'box'" in refused(path)
    safetensors.torch.save_file(TENSORS, path)
    assert "without the metadata 'box'" in refused(path)


def test_a_checksum_of_something_else_is_refused(path: Path) -> None:
    """The checksum covers each part of a file: header, and name, type, shape and bytes of the tensors."""
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])

    def changed(**changes: Any) -> bytes:
        return assembled(header | changes, data[start:])

    path.write_bytes(changed())
    read_tensor_file(path, "box", WHAT)
    for damaged in [
        assembled({("z" if name == "a" else name): value for name, value in header.items()}, data[start:]),
        changed(a=header["a"] | {"dtype": "I32"}),
        changed(a=header["a"] | {"shape": [3, 2]}),
        changed(__metadata__={"box": header["__metadata__"]["box"].replace("2.5", "2.25")}),
        assembled(header, bytes([data[start] ^ 1]) + data[start + 1 :]),
    ]:
        path.write_bytes(damaged)
        assert "checksum is wrong" in refused(path)


def test_files_are_read_and_written_in_threads(tmp_path: Path) -> None:
    tensors: dict[int, Tensor] = {}

    def work(number: int) -> None:
        write_tensor_file(tmp_path / str(number), {"x": torch.full((1000,), number)}, {}, "box")
        tensors[number] = read_tensor_file(tmp_path / str(number), "box", WHAT)[1]["x"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(tensors[number], torch.full((1000,), number)) for number in range(4))


def test_a_header_is_refused_before_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff" * 8)
    os.truncate(path, 2**31)  # takes no space
    tracemalloc.start()
    message = refused(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "its header has" in message
    assert peak < 2**22
