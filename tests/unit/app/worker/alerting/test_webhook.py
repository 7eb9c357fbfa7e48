"""Webhooks: signatures of Standard Webhooks, secrets, and addresses that must not be reached."""

import base64
from pathlib import Path

import pytest

from app.worker.alerting.webhook import WebhookFailed, Webhooks, is_public, parse_secret, sign

SECRET = b"0123456789abcdef01234567"
WRITTEN = f"whsec_{base64.b64encode(SECRET).decode()}"


def test_a_signature_is_that_of_the_specification() -> None:
    # By openssl: printf 'msg_1.1700000000.{"a":1}' | openssl dgst -sha256 -hmac KEY -binary | base64
    assert (
        sign(SECRET, "msg_1", 1_700_000_000, '{"a":1}') == "v1,WUgAXU8H0NQ1/7M+TtMwKma2b74a3/TCgekiM3YUdN8="
    )


def test_secrets_are_read_and_never_quoted() -> None:
    assert parse_secret(f"{WRITTEN}\n") == SECRET
    for wrong in ("hunter2", "whsec_!", "whsec_aHVudGVyMg=="):
        with pytest.raises(WebhookFailed) as caught:
            parse_secret(wrong)
        assert "hunter2" not in str(caught.value)
        assert "aHVudGVyMg" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("::1", "::", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("64:ff9b:1::7f00:1", "::127.0.0.1", "::10.0.0.1", "::ffff:0:127.0.0.1", "fec0::1"),
        *("224.0.0.1", "ff0e::1", "255.255.255.255"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://127.0.0.1:1/x", "not public"),
        ("https://localhost:1/x", "not public"),
        ("https://2130706433/x", "not public"),
        ("https://[::1]/x", "not public"),
        ("http://8.8.8.8/x", "must be https"),
        ("https://user:pass@8.8.8.8/x", "user or a password"),
        ("ftp://8.8.8.8/x", "must be an address"),
    ],
)
async def test_what_must_not_be_reached_is_not(url: str, reason: str) -> None:
    webhooks = Webhooks(None, frozenset(), lambda: 0.0)
    with pytest.raises(WebhookFailed, match=reason):
        await webhooks.send(url, SECRET, "msg_1", "{}")


def test_secrets_stand_in_files_of_one_folder(tmp_path: Path) -> None:
    (tmp_path / "on-call").write_text(WRITTEN)
    assert Webhooks(tmp_path, (), lambda: 0.0).read_secret("on-call") == SECRET
    with pytest.raises(WebhookFailed, match="'other' cannot be read"):
        Webhooks(tmp_path, (), lambda: 0.0).read_secret("other")
    with pytest.raises(WebhookFailed, match="NEXTBEST_WEBHOOK_SECRETS"):
        Webhooks(None, (), lambda: 0.0).read_secret("on-call")
