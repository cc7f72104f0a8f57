"""TLS: the server's certificate, read again when its file changes, and whether callers have to show one too."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from styleserve.errors import ConfigurationError
from styleserve.followed import FollowedFiles


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with its chain, its key, and the authority of callers' certificates."""

    certificate: Path
    key: Path
    client_authority: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """The files that there are, the authority last."""
        return [path for path in (self.certificate, self.key, self.client_authority) if path is not None]


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow their files; raises ConfigurationError when these cannot be used at the start."""
    followed = FollowedFiles(files.paths, lambda contents: _configuration(files, contents), "the certificates")

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """What to use from now on, None for what is used; grpc asks before each handshake, one at a time."""
        return followed.value if followed.look() else None

    return grpc.dynamic_ssl_server_credentials(
        followed.value,
        fetch,  # type: ignore[arg-type]  # which may say None for no change, as grpc documents
        require_client_authentication=files.client_authority is not None,
    )


def _configuration(files: TlsFiles, contents: Sequence[bytes]) -> grpc.ServerCertificateConfiguration:
    """The files' contents as grpc takes them; raises ConfigurationError unless they fit each other."""
    _check(files)
    if [path.read_bytes() for path in files.paths] != contents:  # Python checks keys by their files only
        raise ConfigurationError("the files changed while they were checked")
    certificate, key, *authority = contents
    return grpc.ssl_server_certificate_configuration(
        [(key, certificate)], root_certificates=next(iter(authority), None)
    )


def _check(files: TlsFiles) -> None:
    """Raise ConfigurationError unless key and certificate fit and the authority is one, or OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_refuse_password)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"tls_cert, tls_key: got {str(files.certificate)!r} and {str(files.key)!r}, which cannot be used "
            f"({error}); allowed: a certificate with its chain and its key without a password, both as PEM"
        ) from None
    if files.client_authority is None:
        return
    try:
        context.load_verify_locations(files.client_authority)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"tls_client_ca: got {str(files.client_authority)!r}, which cannot be used ({error}); allowed: "
            "certificates of authorities as PEM"
        ) from None


def _refuse_password() -> bytes:
    raise ValueError("the key has a password")
