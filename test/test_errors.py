# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Text of unknown origin in our own messages: one bounded line that no terminal acts on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eloss_perception.errors import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("intensity", "intensity"),
        ("Fußgänger 行人", "Fußgänger 行人"),
        ("a\nb\r\x1b[31m", "a\\nb\\r\\x1b[31m"),
        ("\u202egnp", "\\u202egnp"),  # turns the reading direction of a terminal
        ("\ud800", "\\ud800"),
        ("", ""),
        ("f" * 1_000_000, "f" * 60 + "... (1000000 characters)"),
        ("\n" * 60, "\\n" * 30 + "... (60 characters)"),
        (ValueError("bad\tvalue"), "bad\\tvalue"),
    ],
)
def test_known_texts(text: object, expected: str) -> None:
    assert printable(text) == expected


@given(st.text(st.characters(codec=None, exclude_categories=[])), st.integers(1, 100))
def test_any_text_is_one_bounded_line(text: str, max_length: int) -> None:
    shown = printable(text, max_length)
    assert shown.isprintable()
    assert len(shown) <= max_length + len(f"... ({len(text)} characters)")
