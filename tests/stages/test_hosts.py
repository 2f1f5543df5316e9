"""Where an address is, however it is written, and which a source may be asked at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.hosts import may_connect, place_named, place_of
from stages.source import SourceError, parse_source
from tests.stages.kit import source_text

PLACES = {
    "public": "93.184.216.34 2606:2800:220:1::1 ::ffff:93.184.216.34 64:ff9b::5db8:d822",
    "private": "10.0.0.7 172.16.0.1 172.31.255.255 192.168.1.5 100.64.0.1 198.18.0.1 fd12::1 ::ffff:10.0.0.7 "
    "64:ff9b::a00:7 2002:a00:7::1 fec0::1 feff::1",
    "machine": "127.0.0.1 127.8.9.1 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::",
    "closed": "169.254.169.254 169.254.170.2 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe fd00:ec2::254 "
    "100.100.100.200 168.63.129.16 192.0.0.192 fe80::1 fe80::1%eth0 0.0.0.0 0.1.2.3 :: 224.0.0.1 ff02::1 "
    "240.0.0.1 255.255.255.255 ::7f00:1 64:ff9b:1::a00:7 no-address 127.1 1.2.3.4.5",
}


@pytest.mark.parametrize(
    ("place", "address"), [(k, one) for k, many in PLACES.items() for one in many.split()]
)
def test_an_address_is_where_it_leads(place: str, address: str):
    """One written inside another counts as itself; a cloud's metadata is nowhere that may be asked."""
    assert place_of(address) == place


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0177.0.0.1", "127.1", "0x7f.1", "0x7f000001", "017700000001", "127.0.0.1.", "a.b.1", "0"],
)
def test_a_number_for_an_address_is_no_host(host: str):
    """A resolver would read these as addresses; nobody writes them in earnest."""
    assert place_named(host) == "closed"


@pytest.mark.parametrize("host", ["engine.example", "localhost.example", "1.example", "0x7f.example", "a-1"])
def test_where_a_name_leads_only_its_addresses_tell(host: str):
    assert place_named(host) is None
    assert place_named("LOCALHOST") == "machine"
    assert may_connect(host, "93.184.216.34", private_hosts=False)
    assert not may_connect(host, "127.0.0.1", private_hosts=False)
    assert not may_connect(host, "10.0.0.7", private_hosts=False)
    assert may_connect(host, "127.0.0.1", private_hosts=True)
    assert may_connect(host, "10.0.0.7", private_hosts=True)


@given(st.ip_addresses(), st.booleans())
def test_a_name_leads_nowhere_inside_without_permission(address: object, private: bool):  # noqa: FBT001  # drawn
    """Without it only what the whole world can reach; with it still no link-local address."""
    text = str(address)
    allowed = may_connect("engine.example", text, private_hosts=private)
    assert allowed == (place_of(text) == "public" or (private and place_of(text) in ("private", "machine")))


@pytest.mark.parametrize("address", ["169.254.169.254", "[fd00:ec2::254]", "0.0.0.0", "2130706433", "127.1"])  # noqa: S104  # to refuse
def test_no_file_allows_metadata_or_a_number(address: str):
    """As its own address or among the allowed ones, with the permission or without."""
    for head in ("kind", "private_hosts = true\nkind"):
        text = source_text().replace("kind", head, 1)
        with pytest.raises(SourceError, match=r"`\$\.base_url`"):
            parse_source(text, base_url=f"http://{address}:80")
        more = text.replace("kind", f'allowed_hosts = ["a.example", "{address}"]\nkind', 1)
        with pytest.raises(SourceError, match=r"`\$\.allowed_hosts\[1\]`"):
            parse_source(more)


def test_an_address_of_a_private_network_needs_the_files_permission():
    """It is refused with the name of the field that allows it; this machine needs to be named only."""
    text = source_text()
    for base in ("http://10.0.0.7", "http://192.168.1.5:8888", "http://[fd12::1]/x"):
        with pytest.raises(SourceError, match=r"true: .* is in a private network .*`\$\.private_hosts`"):
            parse_source(text, base_url=base)
        allowed = parse_source(text.replace("kind", "private_hosts = true\nkind", 1), base_url=base)
        assert allowed.spec.private_hosts
    for base in ("http://127.0.0.1:8650", "http://localhost:8888", "http://[::1]:1", "http://wiki.lan"):
        assert not parse_source(text, base_url=base).spec.private_hosts


@pytest.mark.parametrize(
    "host", ["", "a.example/x", "user@a.example", "[::1", "a.example?", "http://a.example"]
)
def test_an_allowed_host_is_a_host(host: str):
    with pytest.raises(SourceError, match=r"`\$\.allowed_hosts\[0\]`"):
        parse_source(source_text().replace("kind", f'allowed_hosts = ["{host}"]\nkind', 1))
