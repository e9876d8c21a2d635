"""Which addresses are public: of nobody's own network, and of no machine's own services."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Besides those that Python knows, whose list differs by its version.
NOT_PUBLIC_V4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own, and Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's metadata, on an address like any other
        "169.254.0.0/16",  # with most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # with Oracle's metadata
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
]
GLOBAL_UNICAST = IPv6Network("2000::/3")
# Of these some stand for IPv4 addresses (Teredo, 6to4), for whom a relay decides where they lead.
NOT_PUBLIC_V6 = [
    IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20")
]
# The usual way of networks without IPv4 to the rest of the world.
NAT64 = IPv6Network("64:ff9b::/96")
# The middle of an address that stands for an IPv4 address (ISATAP).
ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def is_public(text: str) -> bool:
    """False also for what is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return _is_public_v4(address) if isinstance(address, IPv4Address) else _is_public_v6(address)


def _is_public_v4(address: IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in NOT_PUBLIC_V4)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address in NAT64:
        return _is_public_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    return (
        address in GLOBAL_UNICAST
        and address.is_global
        and not any(address in network for network in NOT_PUBLIC_V6)
        and int(address) >> 32 & 0xFFFF_FFFF not in ISATAP
    )
