"""Who speaks on a connection: an ephemeral TLS certificate, bound to a registered key by signed documents, both ways.

Each process makes a self-signed P-256 certificate when it starts, kept in memory only. Right after the TLS 1.3
handshake the server sends a signed document (kind `tls`) that names its certificate and a fresh nonce; the client
compares it with the certificate that it sees on this very connection and with the key that it wants. Then the client
signs a document that names that certificate, the nonce and the server's address. A man in the middle has another
certificate, so he can pass on neither; a recorded hello has an old nonce. Both documents are bound to the run and to
the time.
"""

import datetime as dt
import hashlib
import os
import secrets
import ssl
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from commonweight.errors import AuthenticationError, FormatError, PeerRefused, SignatureError
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.documents import Domain, Signed, sign, verify
from commonweight.protocol.fields import U32, Fields, lower_address
from commonweight.protocol.keys import address_of

ALPN = "commonweight/1"
ROLES = ("member", "signer", "observer")


@dataclass(frozen=True)
class Identity:
    """A process's place in a run: its private key, what it is (`member`, `signer` or `observer`) and a member's
    index.
    """

    key: bytes = field(repr=False)
    run: str
    domain: Domain
    role: str
    index: int | None = None
    address: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", lower_address(self.run))
        object.__setattr__(self, "address", address_of(self.key))


@dataclass(frozen=True)
class Caller:
    """Who is on the other side, proven: address of the key (lower case), the role and index that it claims."""

    address: str
    role: str
    index: int | None


@dataclass(frozen=True)
class Certificate:
    """An ephemeral certificate: a TLS context for servers and the SHA-256 of the certificate's DER form."""

    context: ssl.SSLContext
    sha256: str


def new_certificate() -> Certificate:
    """Make a P-256 key and a self-signed certificate for it; the key leaves memory only for an instant, unlinked at
    once.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "commonweight")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # no resumption: every connection shows its certificate
    context.set_alpn_protocols([ALPN])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
            stream.write(pem)
        context.load_cert_chain(path)
    return Certificate(context, _sha256(certificate.public_bytes(serialization.Encoding.DER)))


def client_context() -> ssl.SSLContext:
    """TLS 1.3 without certificate authorities: the certificate is proven by the signed hello instead."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN])
    return context


def peer_certificate_sha256(tls: ssl.SSLObject | None) -> str:
    """SHA-256 of the certificate that the server showed on this connection; AuthenticationError when there is none."""
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    if der is None or tls is None or tls.selected_alpn_protocol() != ALPN:
        raise AuthenticationError("The other side does not speak this protocol", f"TLS with ALPN {ALPN} is expected")
    return _sha256(der)


def server_hello(identity: Identity, certificate: Certificate, now_s: float | None = None) -> Signed:
    """What a server says first; its nonce is fresh for each connection."""
    body = _body(identity, "server", certificate.sha256, "0x" + secrets.token_hex(32), now_s)
    return sign("tls", body, identity.key, identity.domain)


def check_server_hello(
    value: Json, mine: Identity, expect: str, cert_sha256: str, max_skew_s: float, now_s: float | None = None
) -> tuple[Caller, str]:
    """The server and its nonce, if the hello is by `expect` for this run, this certificate and about now.

    Raises AuthenticationError with the reason.
    """
    try:
        signed = Signed.from_json(value)
        signer = verify(signed, mine.domain, "tls")
        if signer != lower_address(expect):  # in another run's domain the right key's signature gives any address
            raise AuthenticationError(
                f"The server did not prove that it is {lower_address(expect)}",
                "its hello is signed by the wrong key, or it serves another run",
                "see which program listens at that address, and for which run",
            )
        caller, fields, problem = _read(signed, signer, "server", mine, cert_sha256, max_skew_s, now_s)
        nonce = fields.digest("nonce")
        fields.done()
    except (FormatError, SignatureError) as refused:
        raise AuthenticationError(
            f"The server did not prove that it is {lower_address(expect)}", str(refused)
        ) from None
    if problem:
        raise AuthenticationError(f"The server's hello is refused ({problem[0]})", problem[1])
    return caller, nonce


def client_hello(identity: Identity, to: str, cert_sha256: str, nonce: str, now_s: float | None = None) -> Signed:
    """A client's answer: for this server's address, certificate and nonce only."""
    body = _body(identity, "client", cert_sha256, nonce, now_s) | {"to": lower_address(to)}
    return sign("tls", body, identity.key, identity.domain)


def check_client_hello(
    value: Json, mine: Identity, cert_sha256: str, nonce: str, max_skew_s: float, now_s: float | None = None
) -> Caller:
    """The client, if its hello answers ours on this connection; raises PeerRefused with a code that the client is
    told.
    """
    try:
        signed = Signed.from_json(value)
        signer = verify(signed, mine.domain, "tls")
        caller, fields, problem = _read(signed, signer, "client", mine, cert_sha256, max_skew_s, now_s)
        fresh = fields.digest("nonce") == nonce
        for_me = fields.address("to") == mine.address
        fields.done()
    except (FormatError, SignatureError) as refused:
        raise PeerRefused("bad-hello", "The hello is refused", str(refused)) from None
    if problem:
        raise PeerRefused(problem[0], "The hello is refused", problem[1])
    if not fresh or not for_me:
        why = "it answers another connection" if not fresh else "it was made for another server"
        raise PeerRefused("bad-hello", "The hello is refused", why)
    return caller


def _body(identity: Identity, side: str, cert_sha256: str, nonce: str, now_s: float | None) -> JsonObject:
    return {
        "run": identity.run,
        "side": side,
        "role": identity.role,
        "index": identity.index,
        "cert_sha256": cert_sha256,
        "nonce": nonce,
        "time_ms": int((time.time() if now_s is None else now_s) * 1000),
    }


def _read(
    signed: Signed, signer: str, side: str, mine: Identity, cert_sha256: str, max_skew_s: float, now_s: float | None
) -> tuple[Caller, Fields, tuple[str, str] | None]:
    """Caller, the fields not read yet, and the code and reason of what is wrong if anything is."""
    fields = Fields(signed.body, "tls")
    run, role = fields.address("run"), fields.choice("role", ROLES)
    index = fields.integer("index", 0, U32) if role == "member" else None
    if role != "member" and fields.take("index") is not None:
        raise fields.wrong("index", "null", "a number")
    fields.choice("side", (side,))
    skew_s = abs(fields.integer("time_ms") / 1000 - (time.time() if now_s is None else now_s))
    problem = None
    if fields.digest("cert_sha256") != cert_sha256:
        problem = ("bad-hello", "it is bound to another certificate: someone may be in the middle")
    elif run != mine.run:
        problem = ("wrong-run", f"it is for run {run}, not {mine.run}")
    elif skew_s > max_skew_s:
        problem = ("clock", f"its time is {skew_s:.0f} s away from ours, {max_skew_s:.0f} s are allowed")
    return Caller(signer, role, index), fields, problem


def _sha256(data: bytes) -> str:
    return "0x" + hashlib.sha256(data).hexdigest()
