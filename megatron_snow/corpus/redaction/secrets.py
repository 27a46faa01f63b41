"""Secrets by their form: the detectors, and the literals that a line must hold for each.

Patterns are those of detect-secrets 1.5.0 (Apache-2.0), and of the issuers' documents for formats that it does not know.
Left out of detect-secrets: HighEntropyStrings (hashes and minified code), Keyword (it reports `password = "foo"`), Twilio
(`AC` and 32 hexadecimal digits stand inside hashes), Artifactory (`AP` and 9 letters is a word), Discord, Cloudant, IBM
and SoftLayer (an assignment to a name that says key or token, which `assignments` finds for all), IPPublic (`addresses`).
A match may not go on on either side in its own alphabet.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from megatron_snow.corpus.redaction.assignments import HINTS, assigned, url_passwords

Span = tuple[int, int]
Find = Callable[[bytes, int, int], Iterator[Span]]  # (data, start, end of a line) -> what is to be replaced


@dataclass(frozen=True)
class Detector:
    """`hints`: lower-case literals; a line without any of them, whatever the case, has no finding."""

    name: str
    hints: tuple[str, ...]
    find: Find


# detect-secrets: module, class, which of its patterns, hints. A hint that a match begins with is kept.
_PLUGINS = (
    ("aws", "AWSKeyDetector", (0,), ("a3t", "abia", "acca", "akia", "asia")),
    ("azure_storage_key", "AzureStorageKeyDetector", (0,), ("accountkey=",)),
    ("github_token", "GitHubTokenDetector", (0,), ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
    ("gitlab_token", "GitLabTokenDetector", tuple(range(7)), (
        "glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "gr1348941", "glcbt-", "glimt-", "glptt-", "glagent-", "gloas-")),
    ("mailchimp", "MailchimpDetector", (0,), tuple(f"-us{digit}" for digit in range(1, 10))),
    ("pypi_token", "PypiTokenDetector", (0, 1), ("pypi-ageichlwas5vcmc", "pypi-agendgvzdc5wexbplm9yzw")),
    ("sendgrid", "SendGridDetector", (0,), ("sg.",)),
    ("slack", "SlackDetector", (0,), ("xoxa-", "xoxb-", "xoxp-", "xoxo-", "xoxs-", "xoxr-")),
    ("square_oauth", "SquareOAuthDetector", (0,), ("sq0csp-",)),
    ("telegram_token", "TelegramBotTokenDetector", (0,), (":aa",)),  # every token's second part begins so
)  # fmt: skip

# Name, pattern (its first group is the secret), hints.
_OWN = (
    ("AnthropicKey", rb"sk-ant-([\w-]{60,200})", ("sk-ant-",)),
    ("AwsSecretKey", rb"(?i:aws.{0,20}?(?:key|pwd|pw|password|pass|token).{0,20}?['\"])([0-9a-zA-Z/+]{40})['\"]", ("aws",)),
    ("DigitalOceanToken", rb"do[opr]_v1_([a-f0-9]{64})", ("doo_v1_", "dop_v1_", "dor_v1_")),
    ("DockerToken", rb"dckr_pat_([\w-]{27})", ("dckr_pat_",)),
    ("GitHubFineGrainedToken", rb"github_pat_(\w{82})", ("github_pat_",)),
    ("GoogleApiKey", rb"AIza([\w-]{35})", ("aiza",)),
    ("GoogleClientSecret", rb"GOCSPX-([\w-]{28})", ("gocspx-",)),
    ("HuggingFaceToken", rb"hf_([A-Za-z0-9]{34})", ("hf_",)),
    ("NpmToken", rb"npm_([A-Za-z0-9]{36})", ("npm_",)),
    ("NpmLegacyToken", rb":_authToken=\s*([a-fA-F0-9-]{36})", (":_authtoken=",)),
    ("OpenAIKey", rb"sk-((?:[\w-]{0,24}-)?[\w-]{20,74}T3BlbkFJ[\w-]{20,74})", ("t3blbkfj",)),
    ("ShopifyToken", rb"shp(?:at|ca|pa|ss)_([a-fA-F0-9]{32})", ("shpat_", "shpca_", "shppa_", "shpss_")),
    ("SlackAppToken", rb"xapp-\d-([A-Z0-9]+-\d+-[a-z0-9]{30,})", ("xapp-",)),
    ("SlackWebhook", rb"hooks\.slack\.com/services/(T\w{8,}/B\w{8,}/\w{20,})", ("hooks.slack.com",)),
    ("StripeKey", rb"[rs]k_(?:live|test)_([0-9a-zA-Z]{24,247})", ("rk_live_", "sk_live_", "rk_test_", "sk_test_")),
)  # fmt: skip
_JWT = ("JwtTokenDetector", ("eyj",))
_WORD = re.compile(rb"[A-Za-z0-9]")
_ESCAPED = (b"n", b"r", b"t")


@cache
def detectors() -> tuple[Detector, ...]:
    """All detectors of secrets that stand in one line; where two find the same text the first counts."""
    found = [Detector(name, hints, _plugin(module, name, numbers, hints)) for module, name, numbers, hints in _PLUGINS]
    found += [Detector(name, hints, _own(re.compile(pattern))) for name, pattern, hints in _OWN]
    found.append(Detector(*_JWT, _jwt()))
    found.append(Detector("BasicAuth", ("://",), url_passwords))
    return (*found, Detector("Assignment", HINTS, assigned))


def _plugin(module: str, name: str, numbers: Sequence[int], hints: Sequence[str]) -> Find:
    denylist = _detect_secrets(module, name).denylist
    patterns = [re.compile(denylist[number].pattern.encode(), denylist[number].flags & ~re.UNICODE) for number in numbers]

    def find(data: bytes, start: int, end: int) -> Iterator[Span]:
        for pattern in patterns:
            for match in pattern.finditer(data, start, end):
                text = match.group().lower()
                kept = next((len(hint) for hint in hints if text.startswith(hint.encode())), 0)
                if _ends(data, *match.span(), start, end):
                    yield match.start() + kept, match.end()

    return find


def _own(pattern: re.Pattern[bytes]) -> Find:
    def find(data: bytes, start: int, end: int) -> Iterator[Span]:
        for match in pattern.finditer(data, start, end):
            if _ends(data, *match.span(), start, end):
                yield match.span(1)

    return find


def _jwt() -> Find:
    plugin = _detect_secrets("jwt", _JWT[0])
    pattern = re.compile(rb"eyJ[\w=-]{8,}\.([\w=-]{8,}\.[\w+/=-]*)")

    def find(data: bytes, start: int, end: int) -> Iterator[Span]:
        for match in pattern.finditer(data, start, end):
            if plugin.is_formally_valid(match.group().decode()):
                yield match.span(1)

    return find


def _ends(data: bytes, match_start: int, match_end: int, start: int, end: int) -> bool:
    """Whether no letter or digit stands on either side of a match; that of an escape ("\\n") is none."""
    before, after = data[max(start, match_start - 2) : match_start], data[match_end : min(end, match_end + 1)]
    begins = not (_WORD.match(before[-1:]) and _WORD.match(data, match_start)) or (before[:1] == b"\\" and before[1:] in _ESCAPED)
    return begins and not (_WORD.match(after) and _WORD.match(data, match_end - 1))


def _detect_secrets(module: str, name: str) -> Any:
    """A plugin's class. Imported when it is needed: it imports requests, 0.2 s."""
    return getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)
