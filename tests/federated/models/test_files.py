"""Models on the disk: numbers and nothing that runs."""

from __future__ import annotations

import json
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest

from federated.errors import InvalidArgument
from federated.models.files import from_bytes, load, save, to_bytes

TENSORS = {
    "weights": np.arange(6, dtype=np.float64).reshape(2, 3),
    "bias": np.float32([0.5]),
    "count": np.array(3, dtype=np.int64),
}


def test_a_model_comes_back_with_its_order_types_and_where_it_comes_from(tmp_path: Path) -> None:
    digest = save(tmp_path / "m.safetensors", TENSORS, {"task": "ab", "round": "3"})
    found = load(tmp_path / "m.safetensors", like=TENSORS, sha256=digest)
    assert list(found.tensors) == list(load(tmp_path / "m.safetensors").tensors) == list(TENSORS)
    assert all(np.array_equal(found.tensors[name], TENSORS[name]) for name in TENSORS)
    assert [array.dtype for array in found.tensors.values()] == [array.dtype for array in TENSORS.values()]
    assert (found.facts, found.sha256) == ({"task": "ab", "round": "3"}, digest)


def test_the_same_model_gives_the_same_bytes_however_it_lies_in_memory() -> None:
    facts = {str(number): "x" for number in range(20)}
    turned = {**TENSORS, "weights": np.asfortranarray(TENSORS["weights"])}
    assert to_bytes(TENSORS, facts) == to_bytes(turned, dict(reversed(facts.items())))


def test_a_model_is_its_owner_s_alone_whatever_lay_in_its_place(tmp_path: Path) -> None:
    file, waiting = tmp_path / "m.safetensors", tmp_path / ".m.safetensors.part"
    for left in (file, waiting):
        left.write_bytes(b"of a run that was killed")
        left.chmod(0o666)
    save(file, TENSORS)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    waiting.symlink_to(tmp_path / "elsewhere")
    save(file, TENSORS)
    assert not (tmp_path / "elsewhere").exists()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize(
    "data",
    [pickle.dumps(Bomb()), b"", b"PK\x03\x04" + bytes(90), b"\x08" + bytes(7) + b"not json", bytes(64)],
)
def test_a_pickle_or_another_file_is_refused_unopened(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="no safetensors file"):
        from_bytes(data)


def test_a_truncated_or_lengthened_file_is_refused() -> None:
    data = to_bytes(TENSORS)
    for wrong in (data[:-1], data + b"\0"):
        with pytest.raises(InvalidArgument):
            from_bytes(wrong)


def test_another_file_than_was_pinned_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="SHA-256"):
        from_bytes(to_bytes(TENSORS), sha256="0" * 64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": np.zeros((3, 2))}, "shape"),
        ({"weights": np.zeros((2, 3), np.float32)}, "float32"),
        ({"weights": np.full((2, 3), np.nan)}, "not finite"),
        ({"extra": np.zeros(1)}, "others came"),
    ],
)
def test_other_arrays_than_the_model_s_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        from_bytes(to_bytes({**TENSORS, **change}), like=TENSORS)  # type: ignore[dict-item]


def test_a_type_that_is_not_read_is_refused_before_it_is_opened() -> None:
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    with pytest.raises(InvalidArgument, match="type that is not read"):
        from_bytes(len(header).to_bytes(8, "little") + header + b"\0")


def test_an_unfinished_file_never_stands_under_the_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        save(tmp_path / "m.safetensors", {"words": np.array(["a"])})
    assert list(tmp_path.iterdir()) == []
