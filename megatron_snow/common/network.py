"""Which of this machine's addresses and interfaces another machine is reached by."""

from __future__ import annotations

import ipaddress
import socket

import psutil


def address_towards(host: str, port: int) -> str:
    """This machine's own address on the way to `host`; nothing is sent. OSError where the name or the way is unknown."""
    family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(place)  # of a datagram socket: the kernel chooses the way and no packet goes
        return str(probe.getsockname()[0])


def interface_of(address: str) -> str | None:
    """The name of the interface that has an address: "eth0"; None where none has."""
    for name, addresses in psutil.net_if_addrs().items():
        if address in {found.address.partition("%")[0] for found in addresses}:
            return name
    return None


def is_loopback(address: str) -> bool:
    """Whether no other machine reaches an address: 127.0.0.1, or Debian's 127.0.1.1 for its own name."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
