"""Servers behind TLS: the embedded ones are built without, so a proxy takes off what their clients encrypt."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""The first message of a PostgreSQL client that asks for TLS."""


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for ``localhost``, and its key."""

    certificate: Path
    key: Path


def make_certificate(folder: Path) -> Certificate:
    """Make a certificate that is valid for a day."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=localhost")
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


@asynccontextmanager
async def behind_tls(
    certificate: Certificate, *, host: str = "", port: int = 0, socket: str = ""
) -> AsyncIterator[int]:
    """Yield a port that speaks TLS for a server. ``socket``: that of a PostgreSQL server, whose clients ask first."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if socket:
                if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:  # in the clear: refused
                    writer.close()
                    return
                writer.write(b"S")
                await writer.start_tls(context)
                inner = await asyncio.open_unix_connection(socket)
            else:
                inner = await asyncio.open_connection(host, port)
        except (OSError, EOFError):
            writer.close()
            return
        await asyncio.gather(forward(reader, inner[1]), forward(inner[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if socket else context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
