"""What survived the mutation proof once: names and matching."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest

from ehr.people.names import split_name, within_one_edit, words


@cache
def distance(left: str, right: str) -> int:
    """Levenshtein distance, by its definition."""
    if not left or not right:
        return len(left) + len(right)
    return min(
        distance(left[1:], right) + 1,
        distance(left, right[1:]) + 1,
        distance(left[1:], right[1:]) + (left[0] != right[0]),
    )


def test_one_edit_is_a_distance_of_at_most_one_for_all_short_words() -> None:
    words = ["".join(letters) for length in range(5) for letters in product("ab", repeat=length)]
    for left, right in product(words, words):
        assert within_one_edit(left, right) == (distance(left, right) <= 1), (left, right)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Smith Jr", ("Smith", "")),
        ("Jr", ("Jr", "")),
        ("Amy Smith Jr III", ("Smith", "Amy")),
        ("Smith, Jr", ("Smith", "")),
        ("Smith, Amy Jr", ("Smith", "Amy Jr")),
    ],
)
def test_a_suffix_is_no_family_name(text: str, parts: tuple[str, str]) -> None:
    assert split_name(text) == parts


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Ø", "o"),
        ("Đ", "d"),
        ("ð", "d"),
        ("Ł", "l"),
        ("Ħ", "h"),
        ("ı", "i"),
        ("Æ", "ae"),
        ("œ", "oe"),
        ("Þ", "th"),
    ],
)
def test_letters_without_a_decomposition_have_a_plain_form(text: str, letters: str) -> None:
    assert words(f"x{text}x") == (f"x{letters}x",)
