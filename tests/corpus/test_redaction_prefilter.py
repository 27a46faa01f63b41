"""The prefilter loses nothing: with it and without, real code and made-up text give the same findings."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_snow.common.native import load_native
from megatron_snow.config import Redaction
from megatron_snow.corpus.redaction import prefilter, redact_text
from megatron_snow.corpus.redaction.prefilter import Candidate, Hints, candidates
from megatron_snow.corpus.redaction.secrets import detectors
from megatron_snow.pipeline import Texts

STDLIB = Path(ast.__file__).parent
HINTS = Hints({"ghp_": 8, "secret": 16}, 1, 2, 4, 16)


@pytest.fixture(scope="module", autouse=True)
def _native() -> None:
    library, reason = load_native()
    if library is None:
        pytest.skip(reason)


def on_every_line(text: str) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefilter, "load_native", lambda: (None, "switched off"))
        return redact_text(text, Redaction())


def lines_of(*texts: str) -> list[Candidate]:
    data = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int64)
    return list(candidates(Texts(np.frombuffer(b"".join(data), np.uint8), offsets), HINTS))


# Pieces of what the detectors look for, so that a random text is near a finding more often than never.
PIECES = ["ann", "@", "acme.org", "93.184.216.34", ".", "1", "2606:2800::9", ":", "ghp_",
          "aB3xZ9" * 6, "secret", "token", "=", '"', "'", " ",
          "\n", "\r\n", "://", "u:", "é", "\u2028", "q7Zp2Xv9KtR4mWs8",
          "AKIAQ3EGRZ7XK2PLMN4T", "-", "BEGIN PRIVATE KEY", "END ", "-----"]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_nothing_is_lost_on_made_up_text(text: str) -> None:
    assert redact_text(text, Redaction()) == on_every_line(text)


def test_nothing_is_lost_on_real_code() -> None:
    """The standard library's mail, network and test modules: 144 findings on Python 3.11."""
    found = 0
    for path in sorted([*STDLIB.glob("*.py"), *STDLIB.glob("test/test_[ei]*.py"), *STDLIB.glob("email/*.py")]):
        text = path.read_text(encoding="utf-8", errors="replace")
        redacted = redact_text(text, Redaction())
        assert redacted == on_every_line(text), path
        found += len(redacted[1])
    assert found > 50


def test_hint_is_found_whatever_its_case_and_its_line_is_whole() -> None:
    text = "one\ntwo gHp_ three\r\nfour"
    assert lines_of(text) == [Candidate(0, 4, 19, 8)]
    assert lines_of("x", "ghp_", "", "GHP_\n") == [Candidate(1, 1, 5, 8), Candidate(3, 5, 9, 8)]
    assert lines_of("", "ghp", "g", "hp_") == []  # not across texts


def test_keyword_needs_a_run_of_sixteen_with_two_digits() -> None:
    assert lines_of("secret = abcdefghijklmn12")[0].mask == 16
    assert lines_of("secret = abcdefghijklm12", "secret = abcdefghijklmno1", "secret = abcdefgh 12345678") == []


@pytest.mark.parametrize(
    ("text", "mask"),
    [("a@b", 1), ("a @b", 0), ("@b", 0), ("a@", 0), ("1.2.3.4", 2), ("1.2.3", 0), ("1.2.3.4444", 0), ("1234.2.3.4", 0), ("2001:d", 4),
     ("3fff::", 4), ("1fff::", 0), ("200:d", 0)],
)  # fmt: skip
def test_forms_without_a_literal(text: str, mask: int) -> None:
    assert [line.mask for line in lines_of(text)] == [mask] * bool(mask)


def test_more_lines_than_there_was_room_for() -> None:
    text = "ghp_\n" * 3000
    assert len(lines_of(text)) == 3000


def test_hints_are_lower_case_and_long_enough_for_the_compiled_pass() -> None:
    for detector in detectors():
        assert detector.hints
        assert all(hint == hint.lower() and len(hint) >= 2 and hint.isascii() for hint in detector.hints)
