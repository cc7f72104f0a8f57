"""Addresses: what is one, and who reaches it."""

import ipaddress
import re
from collections.abc import Iterator

_ADDRESS = r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/]+):([0-9]{1,5})"
_ADDRESS_PATTERN = re.compile(_ADDRESS)
_ENDPOINT_PATTERN = re.compile(rf"https?://{_ADDRESS}/?")
#: What grpc takes for a way of naming rather than for a host, in whatever case.
_SCHEMES = ("dns", "google-c2p", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")


def address_problems(name: str, value: str) -> Iterator[str]:
    """What keeps the setting of this name from being an address to listen on."""
    match = _ADDRESS_PATTERN.fullmatch(value)
    if match is None or int(match[2]) > 65535:
        yield f"{name}: got {value!r}; allowed: HOST:PORT with a port of 0 to 65535"
    elif match[1].lower() in _SCHEMES:
        yield f"{name}: got {value!r}; allowed: HOST:PORT with a host other than {', '.join(_SCHEMES)}"


def endpoint_problems(name: str, value: str) -> Iterator[str]:
    """What keeps the setting of this name from being an endpoint to call."""
    if not _ENDPOINT_PATTERN.fullmatch(value):
        yield f"{name}: got {value!r}; allowed: http://HOST:PORT, or https://HOST:PORT"


def is_loopback(address: str) -> bool:
    """Whether nobody beyond this machine reaches the address."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
