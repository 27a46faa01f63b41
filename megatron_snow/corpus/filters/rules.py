"""StarCoder's six rules: what is not worth training on, by the look of the text.

Sources: StarCoder (arXiv 2305.06161, 3.2 and 3.3), bigcode-dataset's preprocessing, and DeepSeek-Coder
(arXiv 2401.14196, 2.1) for XSLT and the size of JSON and YAML. The Arctic-SnowCoder paper says "basic
filtering" and no more. A rule looks at a document and says whether it drops it; the first that does counts.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from megatron_snow.common.files import beside
from megatron_snow.corpus.counting import Tally
from megatron_snow.pipeline import ShardWriter, read_documents, schema_of


@dataclass(frozen=True)
class Filters:
    max_line_length: int = 1000  # characters
    mean_line_length: int = 100  # characters
    min_alphanumeric: float = 0.25  # share of characters
    drop_xml: bool = True  # "<?xml version=" in the first 100 characters
    min_html_text: float = 0.2  # share of visible text in HTML, which must also be over 100 characters
    json_yaml_min: int = 50  # characters
    json_yaml_max: int = 5000  # characters


Rule = Callable[[str, str, Filters], bool]  # (content, language, parameters) -> drop it

_ALPHANUMERIC = (string.ascii_letters + string.digits).encode()
_XML_WITHIN = 100  # characters
_MIN_HTML_CHARACTERS = 100
_INVISIBLE = frozenset(("script", "style", "template", "noscript"))


def long_line(content: str, language: str, parameters: Filters) -> bool:
    """The longest line is over 1000 characters: data or minified code (StarCoder 3.2)."""
    limit = parameters.max_line_length
    return bool(limit) and len(content) > limit and max(map(len, content.splitlines()), default=0) > limit


def long_lines(content: str, language: str, parameters: Filters) -> bool:
    """Lines are over 100 characters long on average (StarCoder 3.2)."""
    limit = parameters.mean_line_length
    if not limit or len(content) <= limit:
        return False
    lines = content.splitlines()
    return sum(map(len, lines)) > limit * len(lines)


def few_alphanumeric(content: str, language: str, parameters: Filters) -> bool:
    """Letters and digits are under a quarter of all characters (StarCoder 3.2)."""
    if content.isascii():  # 40 times the speed of asking each character
        count = len(content) - len(content.encode().translate(None, _ALPHANUMERIC))
    else:
        count = sum(map(str.isalnum, content))
    return count < parameters.min_alphanumeric * len(content)


def xml_head(content: str, language: str, parameters: Filters) -> bool:
    """`<?xml version=` in the first 100 characters (StarCoder 3.2); XSLT is a program and stays (DeepSeek-Coder 2.1)."""
    return parameters.drop_xml and language != "XSLT" and "<?xml version=" in content[:_XML_WITHIN]


def little_html_text(content: str, language: str, parameters: Filters) -> bool:
    """HTML whose visible text is under a fifth of it or under 100 characters (StarCoder 3.2)."""
    if language != "HTML" or not parameters.min_html_text:
        return False
    visible = visible_characters(content)
    return visible < parameters.min_html_text * len(content) or visible <= _MIN_HTML_CHARACTERS


def json_yaml_size(content: str, language: str, parameters: Filters) -> bool:
    """JSON and YAML under 50 or over 5000 characters: configuration stays, data goes (DeepSeek-Coder 2.1)."""
    if language not in ("JSON", "YAML"):
        return False
    return len(content) < parameters.json_yaml_min or 0 < parameters.json_yaml_max < len(content)


# In the order of their cost.
RULES: Mapping[str, Rule] = {
    "xml_head": xml_head,
    "json_yaml_size": json_yaml_size,
    "max_line_length": long_line,
    "mean_line_length": long_lines,
    "min_alphanumeric": few_alphanumeric,
    "min_html_text": little_html_text,
}


def rule_against(content: str, language: str, parameters: Filters) -> str:
    """The name of the first rule that drops the document, or ""."""
    return next((name for name, rule in RULES.items() if rule(content, language, parameters)), "")


def filter_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the documents of a shard that no rule drops."""
    tally = Tally()
    filters = Filters(**parameters["thresholds"])
    with ShardWriter(beside(prefix, ".parquet"), schema_of(inputs[0])) as writer:
        for document in read_documents(inputs[0]):
            rule = rule_against(document["content"], document["language"], filters)
            if rule:
                tally.drop(rule, document["language"], document["size"])
            else:
                tally.keep(document["language"], document["size"])
                writer.write(document)
    return tally


class _VisibleText(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.characters = 0
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _INVISIBLE

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in _INVISIBLE and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.characters += len(re.sub(r"\s+", " ", data.strip()))


def visible_characters(html: str) -> int:
    """Characters of an HTML text that a reader would see, runs of blanks as one."""
    parser = _VisibleText()
    parser.feed(html)
    return parser.characters
