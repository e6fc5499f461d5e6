"""What is an e-mail address, which two are the same, and where a call comes from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.accounts.addresses import InvalidAddress, identifier, normalize
from auth_service.visitors import Visitor


@pytest.mark.parametrize(
    ("given_", "normal"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("  ada@example.com\n", "ada@example.com"),
        ("ada+tag.x_y-z@sub.example.com", "ada+tag.x_y-z@sub.example.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("ａｄａ＠example.com", "ada@example.com"),
        ("jos\u0065\u0301@example.com", "jos\u00e9@example.com"),
        ("STRASSE@example.com", "strasse@example.com"),
        ("straße@example.com", "strasse@example.com"),
        ("ada@example。com", "ada@example.com"),
    ],
)
def test_equal_addresses_have_one_form(given_, normal):
    assert normalize(given_) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "ada",
        "ada@",
        "@example.com",
        "ada@localhost",
        "a b@example.com",
        "ada@exa mple.com",
        "ada@@example.com",
        "a@b@example.com",
        ".ada@example.com",
        "ada.@example.com",
        "a..b@example.com",
        '"ada"@example.com',
        "ada@[127.0.0.1]",
        "ada@127.0.0.1",
        "ada@example..com",
        "ada@example.com.",
        "ada@-example.com",
        "ada@exa_mple.com",
        "ada\u200b@example.com",
        "ada\r\nBcc: x@example.com",
        "<ada@example.com>",
        "a" * 65 + "@example.com",
        "ada@" + "a" * 64 + ".com",
        "ada@" + "a.b" * 100 + ".com",
        "ada@" + "é" * 100_000 + ".com",
        "ada\0@example.com",
        "\ud800@example.com",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidAddress):
        normalize(text)


@given(st.text(max_size=40) | st.emails())
def test_normalizing_twice_changes_nothing(text):
    once = identifier(text)
    assert identifier(once) == once


def test_identifier_of_anything_is_text():
    assert identifier(" Not An Address ") == "not an address"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_one_subscriber_is_one_network(address, network):
    assert Visitor(address, "").network == network
