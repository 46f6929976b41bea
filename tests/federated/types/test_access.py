"""Access checks fail closed; limits and URLs are read from them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.types import InferenceLimits, ModelURLs, _PodResponseType, read_access_check

MODEL = {"resourceType": "MODEL_INFERENCE", "resourceName": "ana/oct:3", "totalUsage": 7}
CLOSED = {"response_type": _PodResponseType.NO_ACCESS, "limits": None}
ACCESS_MANAGER_CODES = [
    "ACCEPT",
    "NO_ACCESS",
    "INVALID_PROOF_OF_IDENTITY",
    "UNAUTHORISED",
    "NO_PROOF_OF_IDENTITY",
]


@pytest.mark.parametrize("code", ACCESS_MANAGER_CODES)
def test_a_known_code_keeps_its_limits(code: str) -> None:
    result = read_access_check({"code": code, "limits": [MODEL]})
    assert result == {"response_type": _PodResponseType[code], "limits": [MODEL]}


@pytest.mark.parametrize(
    "response",
    [
        None,
        [],
        "ACCEPT",
        {},
        {"limits": [MODEL]},
        {"code": None, "limits": [MODEL]},
        {"code": "accept", "limits": [MODEL]},
        {"code": "SOMETHING_NEW", "limits": [MODEL]},
        {"code": "NO_DATA", "limits": [MODEL]},
        {"code": 1},
        {"code": ["ACCEPT"]},
        {"code": "ACCEPT", "limits": "none"},
        {"code": "ACCEPT", "limits": [None]},
        {"code": "ACCEPT", "limits": [{"resourceType": "MODEL_INFERENCE"}]},
        {"code": "ACCEPT", "limits": [{"resourceName": "a", "totalUsage": 1}]},
        {"code": "ACCEPT", "limits": [{**MODEL, "resourceType": None}]},
        {"code": "ACCEPT", "limits": [{**MODEL, "resourceName": 5}]},
        {"code": "ACCEPT", "limits": [{**MODEL, "limit": "10"}]},
        {"code": "ACCEPT", "limits": [{**MODEL, "limit": True}]},
        {"code": "ACCEPT", "limits": [{**MODEL, "totalUsage": -1}]},
        {"code": "ACCEPT", "limits": [{**MODEL, "modelDownloadUrl": 5}]},
    ],
)
def test_what_is_not_understood_means_no_access(response: Any) -> None:
    assert read_access_check(response) == CLOSED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(code=json_values.filter(lambda value: value not in ACCESS_MANAGER_CODES), limits=json_values)
def test_no_other_code_ever_opens(code: Any, limits: Any) -> None:
    assert read_access_check({"code": code, "limits": limits}) == CLOSED


def _limits(*entries: dict[str, Any]) -> Any:
    result = read_access_check({"code": "ACCEPT", "limits": list(entries)})
    assert result["limits"] is not None
    return result


def test_limits_are_read_for_models_that_have_one() -> None:
    result = _limits(
        {**MODEL, "limit": 10},
        {**MODEL, "resourceName": "ana/free:1"},
        {**MODEL, "resourceName": "ana/null:1", "limit": None},
        {**MODEL, "resourceType": "STORAGE", "resourceName": "disk", "limit": 5},
    )
    assert InferenceLimits.from_access_check_result(result) == {
        "ana/oct:3": InferenceLimits(limit=10, total_usage=7)
    }


def test_a_limit_of_zero_is_a_limit() -> None:
    limits = InferenceLimits.from_access_check_result(_limits({**MODEL, "limit": 0}))
    assert limits["ana/oct:3"].limit == 0


def test_of_two_limits_on_one_model_the_tighter_counts() -> None:
    tight, wide = {**MODEL, "limit": 8}, {**MODEL, "limit": 50}
    for entries in ((tight, wide), (wide, tight)):
        assert InferenceLimits.from_access_check_result(_limits(*entries))["ana/oct:3"].limit == 8


@pytest.mark.parametrize("limits", [None, []])
def test_no_limits_give_nothing(limits: Any) -> None:
    result = read_access_check({"code": "ACCEPT", "limits": limits})
    assert result == {"response_type": _PodResponseType.ACCEPT, "limits": limits}
    assert InferenceLimits.from_access_check_result(result) == {}
    assert ModelURLs.from_access_check_result(result) == {}


def test_usage_at_the_start_is_remembered() -> None:
    limits = InferenceLimits(limit=10, total_usage=7)
    limits.total_usage += 2
    assert (limits.total_usage, limits.initial_total_usage) == (9, 7)
    with pytest.raises(AttributeError):
        limits.initial_total_usage = 0  # type: ignore[misc]  # that it cannot be set is what is tested


def test_urls_are_read_whether_there_is_a_limit_or_not() -> None:
    found = ModelURLs.from_access_check_result(
        _limits(
            {**MODEL, "modelDownloadUrl": "https://a.example/m", "weightsDownloadUrl": "https://a.example/w"},
            {**MODEL, "resourceName": "b", "limit": 3, "modelDownloadUrl": "https://b.example/m"},
            {**MODEL, "resourceName": "c", "modelDownloadUrl": ""},
            {**MODEL, "resourceName": "d", "weightsDownloadUrl": "https://d.example/w"},
            {**MODEL, "resourceType": "X", "resourceName": "e", "modelDownloadUrl": "https://e.example"},
        )
    )
    assert {name: (u.model_download_url, u.model_weights_url) for name, u in found.items()} == {
        "ana/oct:3": ("https://a.example/m", "https://a.example/w"),
        "b": ("https://b.example/m", None),
    }
