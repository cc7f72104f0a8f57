"""TLS: the server's certificate, read again when its file changes, and whether callers have to show one too."""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from styleserve.errors import ConfigurationError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with its chain, its key, and the authority of callers' certificates."""

    certificate: Path
    key: Path
    client_authority: Path | None = None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """The files as grpc takes them; raises ConfigurationError unless they fit each other."""
        _check(self)
        authority = None if self.client_authority is None else self.client_authority.read_bytes()
        return grpc.ssl_server_certificate_configuration(
            [(self.key.read_bytes(), self.certificate.read_bytes())], root_certificates=authority
        )

    @property
    def signature(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when one of the files does."""
        found = [path.stat() for path in (self.certificate, self.key, self.client_authority) if path is not None]
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow their files; raises ConfigurationError when these cannot be used at the start."""
    initial = files.read()
    fetcher = _Fetcher(files)
    return grpc.dynamic_ssl_server_credentials(
        initial,
        fetcher.fetch,  # type: ignore[arg-type]  # which may say None for no change, as grpc documents
        require_client_authentication=files.client_authority is not None,
    )


class _Fetcher:
    """Asked by grpc before each handshake, on threads of its own; while the files are broken the last ones serve."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = files.signature

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration, or None when nothing changed."""
        try:
            signature = self._files.signature
            if signature == self._seen:
                return None
            self._seen = signature
            changed = self._files.read()
        except (OSError, ConfigurationError) as error:
            logger.error("the certificate stays as it was, since the files cannot be used: %s", error)
            return None
        logger.info("the certificate was read again")
        return changed


def _check(files: TlsFiles) -> None:
    """Raise ConfigurationError unless key and certificate fit and the authority is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_refuse_password)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"tls_cert, tls_key: got {str(files.certificate)!r} and {str(files.key)!r}, which cannot be used "
            f"({error}); allowed: a certificate with its chain and its key without a password, both as PEM"
        ) from None
    if files.client_authority is None:
        return
    try:
        context.load_verify_locations(files.client_authority)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"tls_client_ca: got {str(files.client_authority)!r}, which cannot be used ({error}); allowed: "
            "certificates of authorities as PEM"
        ) from None


def _refuse_password() -> bytes:
    raise ValueError("the key has a password")
