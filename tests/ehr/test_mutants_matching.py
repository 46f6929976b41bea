"""What survived the mutation proof once: matching."""

from __future__ import annotations

import pytest

from ehr.people.identity import Ambiguous, Matched
from ehr.people.matching import Person, assess, best_name, choose
from ehr.people.names import Likeness
from tests.ehr.people.patients import number, patient


def test_of_two_names_that_fit_as_well_the_evener_one_counts() -> None:
    """One letter wrong in both is nearer than a family name that fits beside another given name."""
    person = Person(family="Smith", given="Amelia", birth_date="1987-02-20")
    names = [{"family": "Smith", "given": ["Robert"]}, {"family": "Smyth", "given": ["Amelja"]}]
    for entries in (names, names[::-1]):
        found = best_name(person, patient(name=entries))
        assert found == (Likeness.NEAR, Likeness.NEAR)


@pytest.mark.parametrize(("asked", "recorded"), [("female", "male"), ("male", "female")])
def test_another_sex_speaks_against_and_the_same_speaks_for(asked: str, recorded: str) -> None:
    person = Person(family="Shaw", given="Amy", birth_date="1987-02-20", sex=asked)
    assert "sex" in assess(person, patient(gender=asked)).evidence
    assert "sex" not in assess(person, patient(gender=recorded)).evidence
    assert "sex" not in assess(person, patient(gender="unknown")).evidence


def test_half_a_swapped_name_is_another_name() -> None:
    person = Person(family="Smith", given="Amy", birth_date="1987-02-20")
    assert best_name(person, patient(family="Jones", given="Smith")) == (
        Likeness.DIFFERENT,
        Likeness.DIFFERENT,
    )
    assert best_name(person, patient(family="Amy", given="Jones")) == (Likeness.DIFFERENT, Likeness.DIFFERENT)
    assert best_name(person, patient(family="Amy", given="Smith")) == (Likeness.SAME, Likeness.NEAR)


def test_a_birth_date_tells_apart_who_shares_a_number() -> None:
    """With the birth date the number is not all there is; without it a second owner makes it ambiguous."""
    mine = patient("a", identifier=[number("N1")])
    other = patient("b", family="Jones", given="Bo", birthDate=None, identifier=[number("N1")])
    assert isinstance(choose(Person(mrn="N1", birth_date="1987-02-20"), [mine, other]), Matched)
    assert isinstance(choose(Person(mrn="N1"), [mine, other]), Ambiguous)
