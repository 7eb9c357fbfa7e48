"""Addresses of the servers: understood, or refused in words that quote nothing of them that may be secret.

Both drivers pass over much of what they do not understand (a database that is no number, an option that is misspelt, a
user without a password), and connect to something else then. So an address is read here first, and completely.
"""

import difflib
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

POSTGRES_FORM = "postgresql://user:password@host:5432/database"
REDIS_FORM = "redis://:password@host:6379/0"

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
POSTGRES_OPTIONS = {
    "host", "port", "user", "password", "passfile", "dbname", "database", "application_name", "search_path",
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation",
    "ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib",
}  # fmt: skip
REDIS_FILES = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
REDIS_CHOICES = {"ssl_cert_reqs": ("required", "none"), "ssl_check_hostname": ("true", "false")}
REDIS_OPTIONS = REDIS_FILES | REDIS_CHOICES.keys()
_REDIS_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}


class InvalidAddress(ValueError):
    """An address cannot be understood. The message says what is wrong, and never what the address holds."""


def parse_postgres(url: str) -> str:
    """Check an address of PostgreSQL, and return it in the form that asyncpg takes.

    Schemes ``postgresql``, ``postgres``, and either with ``+asyncpg``; options as in libpq. Raises ``InvalidAddress``.
    """
    scheme, rest = _split_scheme(url, POSTGRES_FORM)
    if scheme.removesuffix("+asyncpg") not in ("postgresql", "postgres"):
        raise InvalidAddress(f"the scheme is {_shown(scheme)}; it should look like {POSTGRES_FORM}")
    location, _, query = rest.partition("?")
    options = _parse_options(query, POSTGRES_OPTIONS, POSTGRES_FORM)
    netloc, slash, database = location.partition("/")
    auth, at, hosts = netloc.rpartition("@")
    _check_password_ends(database)
    for host in hosts.split(",") if hosts else ():
        _check_host(host, POSTGRES_FORM)
    for port in options["port"].split(",") if "port" in options else ():
        _check_port(port, POSTGRES_FORM)
    if not (database or options.get("dbname") or options.get("database")):
        raise InvalidAddress(f"no database is named; it should look like {POSTGRES_FORM}")
    if "/" in database:
        raise InvalidAddress(f"a name of a database has no /; it should look like {POSTGRES_FORM}")
    mode = options.get("sslmode")
    if mode is not None and mode not in SSL_MODES:
        raise InvalidAddress(f"sslmode is one of {', '.join(SSL_MODES)}")
    _check_files(options, ("sslrootcert", "sslcert", "sslkey", "sslcrl"))
    # asyncpg takes the first @ for the end of the password, and not the last one.
    netloc = auth.replace("@", "%40") + at + hosts
    return f"postgresql://{netloc}{slash}{database}" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The address of a Redis, and the way in. ``path``: of a Unix socket, in place of host and port."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None
    database: int = 0
    user: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None
    url: str = ""
    """The address as redis-py takes it."""


def parse_redis(url: str) -> RedisAddress:
    """Read an address of Redis: ``redis://``, ``rediss://`` (TLS), or ``unix://``. Raises ``InvalidAddress``."""
    scheme, rest = _split_scheme(url, REDIS_FORM)
    if scheme not in _REDIS_SCHEMES:
        raise InvalidAddress(
            f"the scheme is {_shown(scheme)}; it should look like {REDIS_FORM}, or rediss://... with TLS"
        )
    scheme = _REDIS_SCHEMES[scheme]
    location, _, query = rest.partition("?")
    known: Collection[str] = {"unix": {"db"}, "rediss": REDIS_OPTIONS}.get(scheme, ())
    options = _parse_options(query, known, REDIS_FORM)
    auth, at, hosts = location.partition("/")[0].rpartition("@")
    path = location.partition("/")[2]
    if scheme == "unix":
        if not path:
            raise InvalidAddress("no socket is named; it should look like unix:///path/of/redis.sock?db=0")
        database = options.get("db", "0")
    else:
        database = path.rstrip("/") or "0"
        # First, since a password with a slash in it is taken for a host and a database.
        _check_password_ends(path)
        hosts = hosts or "127.0.0.1"
        _check_host(hosts, REDIS_FORM)
    if not (database.isascii() and database.isdigit()):
        raise InvalidAddress(f"the database is no number; it should look like {REDIS_FORM}")
    user, _, password = auth.partition(":")
    _check_files(options, sorted(REDIS_FILES))
    for name, choices in REDIS_CHOICES.items():
        if options.get(name, choices[0]) not in choices:
            raise InvalidAddress(f"{name} is {' or '.join(choices)}")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise InvalidAddress("ssl_keyfile is the key of ssl_certfile, which is missing")
    if at and not password:
        raise InvalidAddress(
            "there is a user without a password; a password alone goes behind a colon: redis://:password@host"
        )
    split = urlsplit(f"redis://{hosts}")
    tail = f"?{urlencode(options)}" if options else ""
    return RedisAddress(
        host=split.hostname or "127.0.0.1",
        port=split.port or 6379,
        path=f"/{unquote(path)}" if scheme == "unix" else None,
        database=int(database),
        user=unquote(user),
        password=unquote(password),
        tls=_make_tls(options) if scheme == "rediss" else None,
        url=(
            f"unix://{auth}{at}/{path}?db={database}"
            if scheme == "unix"
            else f"{scheme}://{auth}{at}{hosts}/{database}{tail}"
        ),
    )


def _split_scheme(url: str, form: str) -> tuple[str, str]:
    if url != url.strip() or any(character.isspace() for character in url):
        raise InvalidAddress(f"there is a blank in it; it should look like {form}")
    if not url:
        raise InvalidAddress(f"it is empty; it should look like {form}")
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise InvalidAddress(f"it has no scheme with ://; it should look like {form}")
    if "#" in rest:
        raise InvalidAddress("there is a # in it; write %23 for it, as in a password")
    return scheme.lower(), rest


def _shown(scheme: str) -> str:
    """Quote a scheme, unless it may be something else."""
    return repr(scheme) if scheme.replace("+", "").isalnum() and len(scheme) <= 20 else "not known"


def _parse_options(query: str, known: Collection[str], form: str) -> dict[str, str]:
    if not query:
        return {}
    if "@" in query:
        raise InvalidAddress("there is a ? before the host; write %3F for one that belongs to a password")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True))
    except ValueError:
        raise InvalidAddress(f"what follows the ? is not name=value; it should look like {form}") from None
    for name, value in options.items():
        if name not in known:
            # A name may be a part of a password: it is quoted only if it looks like one of an option.
            plain = name.replace("_", "").isalpha() and len(name) <= 40
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = (
                f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known)) or 'none'}"
            )
            raise InvalidAddress(f"there is no option {name if plain else 'of this name'}{hint}")
        if not value:
            raise InvalidAddress(f"the option {name} has no value")
    return options


def _check_password_ends(path: str) -> None:
    """Raise ``InvalidAddress`` where a slash in a password has ended it."""
    if "@" in path:
        raise InvalidAddress("there is a / before the host; write %2F for one that belongs to a password")


def _check_files(options: Mapping[str, str], names: Collection[str]) -> None:
    """Raise ``InvalidAddress`` for certificates and keys that cannot be read."""
    for name in names:
        if name in options:
            try:
                with Path(options[name]).open("rb"):
                    pass
            except OSError as error:
                raise InvalidAddress(f"the file of {name} cannot be read: {error.strerror}") from None


def _check_host(host: str, form: str) -> None:
    name, bracket, port = host.partition("]") if host.startswith("[") else (host, "", "")
    if bracket:
        if port and not port.startswith(":"):
            raise InvalidAddress(f"the host cannot be read; it should look like {form}")
        port = port[1:]
    else:
        name, colon, port = host.partition(":")
        if not name or (colon and not port):
            raise InvalidAddress(f"a host or its port is missing; it should look like {form}")
    if port:
        _check_port(port, form)


def _check_port(port: str, form: str) -> None:
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise InvalidAddress(
            f"the port is no number from 1 to 65535; it should look like {form},"
            " with / : @ ? # of a password written as %2F %3A %40 %3F %23"
        )


def _make_tls(options: Mapping[str, str]) -> ssl.SSLContext:
    """Make the context of a TLS connection, with the meaning that redis-py gives to these options."""
    is_checked = options.get("ssl_cert_reqs", "required") == "required"
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        context.check_hostname = is_checked and options.get("ssl_check_hostname", "true") == "true"
        context.verify_mode = ssl.CERT_REQUIRED if is_checked else ssl.CERT_NONE
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as error:  # also of files that hold no certificate
        raise InvalidAddress(
            f"a certificate cannot be read: {error.strerror or type(error).__name__}"
        ) from None
    return context
