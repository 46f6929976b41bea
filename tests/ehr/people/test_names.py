"""How names are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.people.names import (
    Likeness,
    family_likeness,
    given_likeness,
    parts_of,
    split_name,
    ways,
    within_one_edit,
    without_titles,
    words,
)
from ehr.records.elements import HumanName

NAME = st.text(st.characters(categories=("Lu", "Ll", "Lm", "Lo", "Mn")), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Müller", "MULLER"),
        ("Zoë", "Zoe\u0308"),
        ("O'Brien", "O’Brien"),
        ("O'Brien", "OBrien"),
        ("Smith-Jones", "Smith Jones"),
        ("Smith-Jones", "SmithJones"),
        ("Smith–Jones", "smith  jones"),
        ("Straße", "STRASSE"),
        ("Ørsted", "Orsted"),
        ("Łukasz", "lukasz"),
        ("Đặng", "Dang"),
        ("ﬁsher", "Fisher"),
        ("Shaw Jr.", "Shaw"),
        ("Dr. Shaw", "Shaw III"),
        ("İpek", "ipek"),
    ],
)
def test_spellings_of_one_family_name_are_equal(left: str, right: str) -> None:
    """match_accents_hyphens_apostrophes_suffixes"""
    assert family_likeness(parts_of(left, None).family, parts_of(right, None).family) is Likeness.SAME


@pytest.mark.parametrize(
    ("left", "right", "likeness"),
    [
        ("Amy", "Amy", Likeness.SAME),
        ("Amy", "A.", Likeness.SAME),
        ("A", "Amy", Likeness.SAME),
        ("Amy", "Amy Louise", Likeness.SAME),
        ("Amy L", "Amy Louise", Likeness.SAME),
        ("Amy Louise Jo", "Amy", Likeness.SAME),
        ("Jean-Luc", "Jean Luc", Likeness.SAME),
        ("Jeanluc", "Jean-Luc", Likeness.SAME),
        ("Louise", "Amy Louise", Likeness.DIFFERENT),
        ("B", "Amy", Likeness.DIFFERENT),
        ("Amy J", "Amy Louise", Likeness.DIFFERENT),
        ("Amy", "Ami", Likeness.NEAR),
        ("Amy", "", Likeness.NEAR),
        ("", "", Likeness.SAME),
        ("Robert", "Bob", Likeness.DIFFERENT),
        ("明", "明美", Likeness.NEAR),
        ("明", "明美子", Likeness.DIFFERENT),
    ],
)
def test_given_names_and_initials(left: str, right: str, likeness: Likeness) -> None:
    """match_multiple_given_and_initials"""
    assert given_likeness(words(left), words(right)) is likeness
    assert given_likeness(words(right), words(left)) is likeness


def test_an_initial_is_none_in_a_family_name() -> None:
    assert family_likeness(("s",), ("shaw",)) is Likeness.DIFFERENT
    assert family_likeness(("smith",), ("smith", "jones")) is Likeness.DIFFERENT


def test_titles_and_suffixes_are_dropped_but_never_the_whole_name() -> None:
    assert without_titles(("dr", "prof", "shaw", "jr", "md")) == ("shaw",)
    assert without_titles(("dr",)) == ("dr",)
    assert without_titles(("jr",)) == ("jr",)
    assert without_titles(("dr", "jr")) == ("jr",)
    assert without_titles(("shaw", "dr", "jones")) == ("shaw", "dr", "jones")
    assert without_titles(("jr", "shaw")) == ("jr", "shaw")
    assert without_titles(()) == ()


@pytest.mark.parametrize(
    "title",
    ["Dr", "Dr.", "Mr", "Mrs", "Ms", "Miss", "Mx", "Prof", "Professor", "Rev", "Sir", "Dame", "Herr", "Frau"],
)
def test_a_title_before_a_name_is_dropped(title: str) -> None:
    assert without_titles(words(f"{title} Shaw")) == ("shaw",)


@pytest.mark.parametrize(
    "suffix",
    ["Jr", "Jr.", "Sr", "Junior", "Senior", "II", "III", "IV", "MD", "M.D.", "PhD", "Esq", "DDS", "RN"],
)
def test_a_suffix_after_a_name_is_dropped(suffix: str) -> None:
    assert without_titles(words(f"Shaw {suffix}")) == ("shaw",)
    assert split_name(f"Amy Shaw {suffix}") == ("Shaw", "Amy")


@pytest.mark.parametrize("mark", "'’‘ʼ`´.\u2032\u02bb")
def test_apostrophes_and_dots_end_no_word(mark: str) -> None:
    assert words(f"O{mark}Brien") == ("obrien",)


@pytest.mark.parametrize(
    ("letter", "plain"),
    [
        ("ø", "o"),
        ("đ", "d"),
        ("ð", "d"),
        ("ł", "l"),
        ("ħ", "h"),
        ("ı", "i"),
        ("æ", "ae"),
        ("œ", "oe"),
        ("Þ", "th"),
    ],
)
def test_letters_without_a_decomposition_have_a_plain_form(letter: str, plain: str) -> None:
    assert words(letter) == (plain,)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Shaw^Amy", ("Shaw", "Amy")),
        ("Shaw^Amy^Jo^Dr^III", ("Shaw", "Amy Jo")),
        ("Shaw^^Jo", ("Shaw", "Jo")),
        ("Shaw^", ("Shaw", "")),
        ("Shaw, Amy Jo", ("Shaw", "Amy Jo")),
        ("Smith, Jr", ("Smith", "")),
        ("Amy Jo Shaw", ("Shaw", "Amy Jo")),
        ("Amy Shaw Jr.", ("Shaw", "Amy")),
        ("Cher", ("Cher", "")),
        ("Jr", ("Jr", "")),
        ("", ("", "")),
    ],
)
def test_a_name_in_one_text_is_split(text: str, parts: tuple[str, str]) -> None:
    assert split_name(text) == parts


def test_caret_names_are_split_in_either_field() -> None:
    assert parts_of("Shaw^Amy", None) == (("shaw",), ("amy",))
    assert parts_of("Shaw^Amy", "Jo") == (("shaw",), ("jo",))
    assert parts_of(None, "Shaw^Amy^Jo") == (("shaw",), ("amy", "jo"))
    assert parts_of("Jones", "Shaw^Amy") == (("jones",), ("amy",))
    assert parts_of("Jones", "Amy^") == (("jones",), ("amy",))


def test_every_name_of_a_record_is_a_way_to_be_called() -> None:
    usual = HumanName(family="Jones", given=("Amy",))
    maiden = HumanName(family="Shaw", use="maiden")
    nickname = HumanName(given=("Ames",), use="nickname")
    assert set(ways([usual, maiden, nickname])) == {
        (("jones",), ("amy",)),
        (("shaw",), ("amy",)),
        (("shaw",), ("ames",)),
        (("jones",), ("ames",)),
    }
    assert ways([HumanName(text="Shaw, Amy")]) == ((("shaw",), ("amy",)),)
    assert ways([HumanName(family="Shaw", text="Someone Else")]) == ((("shaw",), ()),)
    assert ways([HumanName()]) == ()
    assert ways([]) == ()
    assert ways([HumanName(given=("Cher",))]) == (((), ("cher",)),)


@pytest.mark.parametrize(
    ("left", "right", "near"),
    [
        ("abc", "abc", True),
        ("abc", "abd", True),
        ("abc", "xbc", True),
        ("abc", "ab", True),
        ("abc", "abcd", True),
        ("abc", "bc", True),
        ("abc", "xabc", True),
        ("abc", "abxc", True),
        ("abc", "axd", False),
        ("abc", "a", False),
        ("abc", "abcde", False),
        ("abc", "acb", False),
        ("abc", "bcd", False),
        ("", "a", True),
        ("", "", True),
        ("", "ab", False),
    ],
)
def test_one_edit(left: str, right: str, near: bool) -> None:
    assert within_one_edit(left, right) is near
    assert within_one_edit(right, left) is near


def _distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_one_edit_is_levenshtein_distance_one(left: str, right: str) -> None:
    assert within_one_edit(left, right) is (_distance(left, right) <= 1)


@given(NAME)
def test_words_are_the_same_in_any_case_and_normal_form(name: str) -> None:
    import unicodedata

    once = words(name)
    assert words(" ".join(once)) == once
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert words(unicodedata.normalize(form, name)) == once


@given(NAME, NAME)
def test_likeness_has_no_direction(left: str, right: str) -> None:
    assert family_likeness(words(left), words(right)) is family_likeness(words(right), words(left))
    assert given_likeness(words(left), words(right)) is given_likeness(words(right), words(left))


@given(NAME)
def test_a_name_is_like_itself(name: str) -> None:
    assert family_likeness(words(name), words(name)) is Likeness.SAME
    assert given_likeness(words(name), words(name)) is Likeness.SAME


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_can_be_a_name(family: str, given_text: str) -> None:
    parts = parts_of(family, given_text)
    assert all(word and not word.isspace() for part in parts for word in part)
    split_name(family)
