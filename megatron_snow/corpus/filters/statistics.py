"""Every statistic that a rule can ask for, and the functions that measure them, a family at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.corpus.filters import encoded, heads, markup, python_code, python_tree, words
from megatron_snow.corpus.filters.characters import Rows, Values, count_characters
from megatron_snow.pipeline import Texts, texts_of


class Family(NamedTuple):
    """Statistics that one function measures together."""

    measure: Callable[[Texts, Rows], Mapping[str, Values]]
    statistics: Mapping[str, str]  # what each is


CHARACTERS = Family(count_characters, {
    "characters": "number of characters",
    "lines": "number of lines (str.splitlines)",
    "longest_line": "characters of the longest line",
    "mean_line": "characters of a line on average",
    "alphanumeric_share": "letters and digits, of all characters",
    "letter_share": "letters, of all characters",
    "visible_letter_share": "letters, of the characters that are no white space",
    "visible_digit_share": "digits, of the characters that are no white space",
    "blank_share": "white space, of all characters",
    "replacement_share": "U+FFFD, of all characters",
})  # fmt: skip
ENCODED = Family(encoded.find_encoded, {
    "encoded_longest": "characters of the longest run of base64, hexadecimal or \\u escapes",
    "encoded_share": "characters in such runs, of all characters",
})  # fmt: skip
MARKUP = Family(markup.count_visible, {"visible_characters": "characters of HTML that a reader would see"})
WORDS = Family(words.count_words, {
    "words": "number of words",
    "mean_word": "characters of a word on average",
    **{f"top_{n}gram_share": f"the most frequent run of {n} words, of the characters in words" for n in words.TOP},
    **{f"repeated_{n}gram_share": f"runs of {n} words that occur twice, of the characters in words" for n in words.REPEATED},
})  # fmt: skip
PYTHON_CODE = Family(python_code.count_code, {
    "code_lines": "Python: lines with code",
    "comment_share": "Python: comments and docstrings, of all characters",
    "repeated_line_share": "Python: lines that occur twice, of the code lines",
    "long_string_share": "Python: lines of strings with over 20 tokens, of the code lines",
    "string_share": "Python: characters in strings, of the code",
    "long_word_share": "Python: words over 20 characters in strings, of the code",
    "hexadecimal_share": "Python: hexadecimal numbers, of the code",
    "prompt_share": "Python: comment lines with fixme, todo or your code here, of all lines",
    "assert_share": "Python: lines with assert, of the code lines",
    "pass_share": "Python: lines with pass, of the code lines",
    "import_share": "Python: lines with import, of the code lines",
    "print_share": "Python: lines with print, of the code lines",
})  # fmt: skip
PYTHON_TREE = Family(python_tree.read_trees, {
    "parses": "Python: 1 if it parses, else 0",
    "variables": "Python: assigned names, loop variables and parameters",
})  # fmt: skip

_FAMILIES = (CHARACTERS, ENCODED, MARKUP, WORDS, PYTHON_CODE, PYTHON_TREE)
_FAMILY_OF = {name: family for family in _FAMILIES for name in family.statistics}

# Of two families, or of one and the file's size or name.
_DERIVED: Mapping[str, str] = {
    "bytes": "size in UTF-8",
    "visible_share": "visible characters of HTML, of all characters",
    "def_share": "Python: functions, of the code lines",
    "trivial_share": "Python: functions that only return, of the code lines",
    "no_logic_share": "Python: functions, classes, their variables, imports and returns, of the code lines",
}
_NAMED: Mapping[str, str] = {
    "head_phrases": "which of `phrases` stand in the first `lines` or `characters`, small and capital letters alike",
    "file_name": "1 if the file's name is one of `names` but for its extension, or has one of `parts` in it; small letters",
    "generated": "1 if go-enry takes the file for generated",
    "vendored": "1 if go-enry takes the path for third-party code",
}
OPTIONS: Mapping[str, tuple[str, ...]] = {"head_phrases": ("phrases", "lines", "characters"), "file_name": ("names", "parts")}
STATISTICS: Mapping[str, str] = {**{name: family.statistics[name] for name, family in _FAMILY_OF.items()}, **_DERIVED, **_NAMED}


class Documents:
    """A batch, whose statistics are measured when they are asked for and only of the rows asked for."""

    def __init__(self, batch: pa.Table) -> None:
        self.texts = texts_of(batch["content"])
        self.ids, self._paths = batch["id"], batch["path"]
        languages = pc.fill_null(batch["language"].combine_chunks(), "").dictionary_encode()
        if isinstance(languages, pa.ChunkedArray):
            languages = languages.combine_chunks()
        self._codes = languages.indices.to_numpy(zero_copy_only=False)
        self._languages = np.array(languages.dictionary.to_pylist() or [""], object)
        self._known: dict[str, Values] = {}
        self._done: dict[int, NDArray[np.bool_]] = {}

    def __len__(self) -> int:
        return len(self.texts)

    def in_languages(self, names: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which documents are in one of the languages."""
        return np.isin(self._languages, names)[self._codes] if len(self) else np.zeros(0, bool)

    def values(self, statistic: str, rows: Rows, options: Mapping[str, object] | None = None) -> Values:
        """A statistic of some rows."""
        if statistic in _FAMILY_OF:
            return self._of_family(statistic, rows)
        if statistic in _NAMED:
            return heads.measure(statistic, self.texts, self._paths.take(pa.array(rows)).to_pylist(), rows, options or {})
        return self._derived(statistic, rows)

    def _of_family(self, statistic: str, rows: Rows) -> Values:
        family = _FAMILY_OF[statistic]
        done = self._done.setdefault(id(family), np.zeros(len(self), bool))
        missing = rows[~done[rows]]
        if len(missing):
            for name, values in family.measure(self.texts, missing).items():
                self._known.setdefault(name, np.full(len(self), np.nan))[missing] = values
            done[missing] = True
        return self._known[statistic][rows]

    def _derived(self, statistic: str, rows: Rows) -> Values:
        if statistic == "bytes":
            return (self.texts.offsets[rows + 1] - self.texts.offsets[rows]).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            if statistic == "visible_share":
                return self._of_family("visible_characters", rows) / self._of_family("characters", rows)
            lines = self._of_family("code_lines", rows)
            self._of_family("parses", rows)
            known = {name: values[rows] for name, values in self._known.items()}
            if statistic == "def_share":
                return known["functions"] / lines
            if statistic == "trivial_share":
                return known["trivial_functions"] / lines
            parts = ("functions", "classes", "class_variables", "import_lines", "return_lines")
            return sum((known[part] for part in parts), np.zeros(len(rows))) / lines
