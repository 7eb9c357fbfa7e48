"""Data as the version before this one wrote it: a waiting decision in Redis, entries of a stream. Byte for byte."""

import struct
from typing import Any

from redis.asyncio import Redis

from storage.keys import Keys

KEYS = Keys(1)
NOW_MS = 1_800_000_000_000
CONFIRM_MS = NOW_MS + 8_000
UNTIL_MS = NOW_MS + 100_000
HEADER = (
    b'{"decision_id":"d1","customer_id":"ann","placement":"phone","channel":"phone","presentation":"explicit",'
    b'"policy":{"name":"thompson","version":1},"control":false,"group":"champion","catalog_version":1,"epoch":0,'
    b'"decided_at_ms":1800000000000,"until_ms":1800000100000,"context":{"reason":"cancel"},"limit":null,"slots":2,'
    b'"offers":[{"offer_id":"gold","rank":1,"score":0.5,"factors":{"P":0.5,"C":1.0,"V":1.0,"L":1.0},'
    b'"probability":1.0,"treatment":{"treatment_id":"phone","channel":"phone","language":"en","title":"T",'
    b'"message":"","image":null,"script":null}},{"offer_id":"bill","rank":2,"score":0.5,'
    b'"factors":{"P":0.5,"C":1.0,"V":1.0,"L":1.0},"probability":1.0,"treatment":{"treatment_id":"phone",'
    b'"channel":"phone","language":"en","title":"T","message":"","image":null,"script":null}}],"numbers":[1,5],'
    b'"expected":[0.5,0.5],"facts":{"customer.age":40},"nothing_right_now":false,"segments":[],"degraded":[],'
    b'"feedback_until":"2027-01-15T08:01:40.000Z","source":"live","contact":{"keep_ms":604800000,'
    b'"confirm_until_ms":1800000008000,"offers":[["cards","grow",true],["service","serve",false]]},'
    b'"seen":{"known":true,"history":[[1,1799999995000,"cards","grow","d","web"]]}}'
)
WAITING = {
    b"h": HEADER,
    b"c": b"ann",
    b"d": b"1800000000000",
    b"u": b"1800000100000",
    b"k": b"thompson@1",
    b"l": b"phone",
    b"m": b"explicit",
    b"w": b"604800000",
    b"n": b"gold,bill",
    b"o:gold": b"1 0.5 c cards:grow phone",
    b"e:gold": b"0.5:1.0",
    b"o:bill": b"5 0.5 t service:serve phone",
    b"e:bill": b"0.5:1.0",
    b"f": b'{"customer.age":40}',
}
RENAMED = {b"c": b"cu", b"k": b"p", b"l": b"pl", b"n": b"os", b"x:gold": b"rel:gold"}
RESERVED = "1:cards:grow:d:phone:d1"
DECIDED = {
    b"t": b"decided",
    b"id": b"d1",
    b"h": HEADER,
    b"c": b"\x01\x00\x00\x00\x05\x00\x00\x00",
    b"x": b"\x00\x00\x00?\x00\x00\x00?",
    b"f": b"\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\xf8?\x00\x00\x00\x00\x00\x00\x00@"
    b"\x00\x00\x00\x00\x00\x00\x08@",
}
CLICKED = {
    b"t": b"outcome",
    b"id": b"d1",
    b"o": b"bill",
    b"n": b"5",
    b"k": b"clicked",
    b"v": b"",
    b"at": b"1800000001000",
    b"ts": b"1800000001000",
    b"d": b"1800000000000",
    b"l": b"0",
    b"r": b"",
    b"q": b"0.5",
    b"p": b"thompson@1",
    b"pl": b"phone",
    b"e": b"0.5:1.0",
    b"f": b"",
}
RELEASED = {
    b"t": b"released",
    b"id": b"d1",
    b"d": b"1800000000000",
    b"at": b"1800000009000",
    b"ts": b"1800000009000",
    b"p": b"thompson@1",
    b"pl": b"phone",
    b"o": b"gold 1 0.5 -",
}
EXPIRED = {
    b"t": b"expired",
    b"id": b"d1",
    b"d": b"1800000000000",
    b"at": b"1800000100000",
    b"ts": b"1800000200000",
    b"p": b"thompson@1",
    b"pl": b"phone",
    b"o": b"gold 1 0.5 - 0.5:1.0,bill 5 0.5 0 0.5:1.0",
    b"f": b'{"customer.age":40}',
}


READABLE_BY_EARLIER = {b"h", b"e:gold", b"e:bill"}
EXPECTED = {b"e0": struct.pack("<4d", 0.5, 1.0, 0.5, 1.0)}


async def put_waiting(redis: "Redis", *, is_earlier: bool, **more: bytes) -> None:
    """Put the decision into an empty Redis, with its reservation, as the version before this one wrote it, or this one.

    ``more``: fields of later steps, by their earlier names.
    """
    fields = WAITING | {name.encode(): value for name, value in more.items()}
    if not is_earlier:
        fields = {RENAMED.get(name, name): value for name, value in fields.items()}
    made: Any = redis
    await made.flushdb()
    await made.hset(KEYS.decision(0, "d1"), mapping=fields)
    await made.zadd(KEYS.pending(0), {"d1": UNTIL_MS})
    await made.zadd(KEYS.unconfirmed(0), {"d1": CONFIRM_MS})
    await made.zadd(KEYS.contact("ann"), {RESERVED: NOW_MS})


async def make_small(redis: "Redis") -> None:
    """Make of it what this version writes where no other one is in use."""
    made: Any = redis
    await made.hdel(KEYS.decision(0, "d1"), *READABLE_BY_EARLIER)
    await made.hset(KEYS.decision(0, "d1"), mapping=EXPECTED)
