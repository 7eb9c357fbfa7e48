"""The receiver of docs/triggers.md takes what nextbest sends, once, and nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest

from app.worker.alerting.webhook import sign
from tests.support.receiver import SECRET, WRITTEN_SECRET

PAGE = (Path(__file__).resolve().parents[5] / "docs" / "triggers.md").read_text(encoding="utf-8")


def test_the_documented_receiver_takes_a_signed_request_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, "docs/triggers.md", "exec"), names)  # the page's own code
    monkeypatch.setattr(names["time"], "time", lambda: 1_700_000_100.0)
    body = '{"data": {"customer_id": "ann"}}'
    headers = {
        "webhook-id": "f1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": sign(SECRET, "f1", 1_700_000_000, body),
    }
    read, seen = names["read_webhook"], set[str]()
    assert read(WRITTEN_SECRET, headers, body.encode(), seen) == {"customer_id": "ann"}
    assert read(WRITTEN_SECRET, headers, body.encode(), seen) is None
    with pytest.raises(ValueError, match="not signed"):
        read(WRITTEN_SECRET, headers, body.encode() + b" ", set())
    with pytest.raises(ValueError, match="too old"):
        read(WRITTEN_SECRET, headers | {"webhook-timestamp": "1699990000"}, body.encode(), set())
