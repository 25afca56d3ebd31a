"""Ports of this machine: listening on one, and which Host and Origin headers may use it. No HTTP here."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from urllib.parse import urlsplit

from studio.errors import StudioError

LAST_PORT = 65535
_PORTS_TRIED = 100


def listen(host: str, port: int | None, first: int) -> socket.socket:
    """A listening socket on this port; without one on the next free from `first`.

    Raises StudioError: `port_range`, `port_taken`, `port_refused`, `host_unknown`.
    """
    if port is not None and not 0 <= port <= LAST_PORT:
        raise StudioError("port_range", port=port, last=LAST_PORT)
    for number in [port] if port is not None else range(first, first + _PORTS_TRIED):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        if os.name != "nt":  # there it would let two programs listen on one port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
            listening.listen(128)
            return listening
        except OSError as error:
            listening.close()
            if error.errno == errno.EADDRINUSE:
                continue
            if error.errno == errno.EACCES:
                raise StudioError("port_refused", port=number) from None
            raise StudioError("host_unknown", host=host) from None
    raise StudioError("port_taken", port=port or first)


def address(host: str, port: int) -> str:
    """The http address under which a program on this machine reaches what listens there."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def host_allowed(header: str, bound: str) -> bool:
    """Whether a Host header may name this server: loopback always (any port: a tunnel changes it).

    Bound elsewhere, also an address given as numbers and this machine's own names. A name that an attacker's
    DNS points here is none of these.
    """
    host = (urlsplit(f"//{header}").hostname or "").rstrip(".").lower()
    if host in ("localhost", "127.0.0.1", "::1"):
        return True
    if is_loopback(bound):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host in {bound.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return True


def origin_allowed(origin: str | None, header: str) -> bool:
    """A request from a page must come from a page of this server; no Origin header means no page sent it."""
    if origin is None:
        return True
    return urlsplit(origin).netloc.lower() == header.lower()


def is_loopback(host: str) -> bool:
    """Whether binding this host is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
