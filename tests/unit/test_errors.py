"""What an error shows: three lines at most, and nothing that a terminal obeys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from puna.errors import PunaError


@given(st.text(), st.text(), st.text())
def test_an_error_is_printable_in_three_lines(what: str, where: str, remedy: str) -> None:
    lines = str(PunaError(what, where=where, remedy=remedy)).split("\n")
    assert len(lines) <= 3
    assert all(line.isprintable() for line in lines)


def test_orders_of_a_terminal_are_shown_as_what_they_are_not() -> None:
    error = PunaError("a\x1b[31mb\n\tc", where="x\u202ey")
    assert str(error) == "a\N{REPLACEMENT CHARACTER}[31mb c\n  at: x\N{REPLACEMENT CHARACTER}y"
