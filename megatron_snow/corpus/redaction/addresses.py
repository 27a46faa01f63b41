"""E-mail and IP addresses in bytes of a line: what names a person or a machine, and what only looks like it.

Sources: BigCode's PII rules (bigcode-dataset/pii: versions and dates are no addresses, private ranges and public DNS
servers stay), IANA's special-purpose registries (RFC 6890). Every e-mail address counts, an author's in a licence header
too, as at BigCode.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

Span = tuple[int, int]

# RFC 5321's common form. After it no "(", "[" or "=": `a@b.to(x)` is a matrix product, `x@y.id = 1` an attribute.
_EMAIL = re.compile(
    rb"(?<![\w.+%/-])[\w+%-]+(?:\.[\w+%-]+)*@((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,12}))(?![\w(\[-]|\.\w| ?=[^=])",
    re.IGNORECASE,
)
# Top-level domains of addresses in code: every country's has two letters; of the others, those that mail is sent from.
_TOP = frozenset(b"com org net edu gov mil int info biz name email dev app tech cloud online site xyz aero coop museum arpa".split())
_FILES = frozenset(b"js ts cs go hs rb kt jl vb".split())  # two letters, but no country: `value@89.js`
# Reserved names (RFC 2606, 6761) name nobody; OpenSSH and libssh name algorithms so: "chacha20-poly1305@openssh.com".
_NOBODY = re.compile(
    rb"(?:^|\.)(?:example|test|invalid|localhost|local)(?:\.[a-z]{2,3})?$|^(?:lib)?(?:open)?ssh\.(?:com|org)$", re.IGNORECASE
)
_NOT_LOCAL = frozenset((b"git", b"hg", b"svn"))  # "git@github.com:a/b.git"
_URL_BEFORE = re.compile(rb"://[^\s/'\"<>]*$")  # user information of a URL

_ESCAPE = re.compile(rb"u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[0-7]{1,3}|[^@]")

# After a letter neither begins, but after the one of a line's break in a string.
_QUAD = re.compile(rb"(?:(?<![\w.-])|(?<=\\[nrt]))(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?![\w-]|\.\d)")
# What a version, a section of a document or a product stands behind.
_VERSION_BEFORE = re.compile(
    rb"(?:\b(?:v|ver|version|versions|release|releases|rev|build|since|section|sec|chapter|clause|table|figure|oid|rfc\s*\d+)\b[^\w\n]{0,4}"
    rb"|[=<>~^]=\s*['\"]?|[a-z]/|\xc2\xa7\s*)$",
    re.IGNORECASE,
)
_BEFORE = 24  # bytes that the two patterns of what stands before look at
_SIX = re.compile(rb"(?:(?<![\w:.])|(?<=\\[nrt]))[23][0-9a-f]{3}(?::[0-9a-f]{0,4}){2,7}(?![\w:])", re.IGNORECASE)

# Special-purpose ranges (private, loopback, documentation, multicast, reserved), then public DNS servers.
_KEPT = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24
192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3 2001::/23 2001:db8::/32 3fff::/20
1.0.0.1 1.1.1.1 4.2.2.0/29 8.8.4.4 8.8.8.8 9.9.9.9 208.67.220.220 208.67.222.222 149.112.112.112
2001:4860:4860::/48 2606:4700:4700::/48 2620:fe::/48 2620:119:35::/48
"""
_KEPT_NETWORKS = [ipaddress.ip_network(text) for text in _KEPT.split()]


def emails(data: bytes, start: int, end: int) -> Iterator[Span]:
    """Addresses of people between two offsets of a line."""
    for match in _EMAIL.finditer(data, start, end):
        domain, top = match.group(1), match.group(2).lower()
        if (len(top) > 2 and top not in _TOP) or top in _FILES or _NOBODY.search(domain):
            continue
        begin = _after_escape(data, match.start(), start)
        local = data[begin : match.start(1) - 1]
        if local and local not in _NOT_LOCAL and not _URL_BEFORE.search(data, max(start, begin - 200), begin):
            yield begin, match.end()


def _after_escape(data: bytes, begin: int, start: int) -> int:
    """Where an address begins whose first letters are of an escape in a string: `"\\nann@acme.org"`, `\\u003cann@acme.org`."""
    slashes = begin - len(data[start:begin].rstrip(b"\\")) - start
    escape = _ESCAPE.match(data, begin) if slashes % 2 else None
    return escape.end() if escape else begin


def ipv4(data: bytes, start: int, end: int) -> Iterator[Span]:
    """Public IPv4 addresses of one machine: no versions, networks (they end in .0) or special ranges."""
    for match in _QUAD.finditer(data, start, end):
        octets = [int(group) for group in match.groups()]
        if max(octets) > 255 or octets[3] == 0 or any(len(group) > 1 and group[:1] == b"0" for group in match.groups()):
            continue
        if _is_version(octets) or _is_object_identifier(octets):
            continue
        if _VERSION_BEFORE.search(data, max(start, match.start() - _BEFORE), match.start()):
            continue
        if not _is_kept(ipaddress.IPv4Address(bytes(octets))):
            yield match.span()


def _is_version(numbers: list[int]) -> bool:
    """Or a section of a document; one address in 1024 has three numbers below 32 and a fourth below 128."""
    return max(numbers[:3]) < 32 and numbers[3] < 128


def _is_object_identifier(numbers: list[int]) -> bool:
    """ITU-T X.660: the first arc is below 3, the second below 40. One address in 550 is taken for one."""
    return numbers[0] < 3 and numbers[1] < 40


def ipv6(data: bytes, start: int, end: int) -> Iterator[Span]:
    """Public IPv6 addresses: in 2000::/3, all that is assigned."""
    for match in _SIX.finditer(data, start, end):
        try:
            address = ipaddress.IPv6Address(match.group().decode())
        except ValueError:
            continue
        if not _is_kept(address) and not match.group().endswith(b"::"):  # a network, or `2008::` of a text
            yield match.span()


def _is_kept(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in network for network in _KEPT_NETWORKS if network.version == address.version)
