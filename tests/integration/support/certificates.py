"""Certificates that a test makes for itself, with the `openssl` of the machine; none is ever checked in."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

__all__ = ["Authority"]

_CONFIG = """\
[req]
distinguished_name = name
prompt = no
x509_extensions = authority
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = {host}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[ca]
default_ca = signing
[signing]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
"""
_BEGINS_AT = "20200101000000Z"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """A certificate authority.

    Attributes:
        certificate: what has to be trusted, PEM.
    """

    def __init__(self, folder: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            needs = "certificates are made with openssl, which is not installed"
            pytest.fail(needs) if os.environ.get("CI") else pytest.skip(needs)
        self._folder = folder / name
        self._folder.mkdir()
        (self._folder / "index.txt").touch()  # which `openssl ca` keeps of what it has signed
        self._key = self._folder / "authority.key"
        self.certificate = self._folder / "authority.pem"
        config = self._config(name, "IP:127.0.0.1")
        _openssl("req", "-x509", *_KEY, "-keyout", self._key, "-out", self.certificate, "-days", 2, "-config", config)

    def issue(self, name: str, host: str = "IP:127.0.0.1", *, days: int = 2) -> Path:
        """Return a file with a key and its certificate, for `CN=name` and a host; `days` -1: it has expired."""
        key, request, leaf, both = (self._folder / f"{name}.{kind}" for kind in ("key", "csr", "crt", "pem"))
        config = self._config(name, host)
        _openssl("req", "-new", *_KEY, "-keyout", key, "-out", request, "-config", config)
        # `openssl x509 -days` takes no number under 0 any more (3.6), and older ones know no `-not_after`.
        ends_at = f"{datetime.now(UTC) + timedelta(days):%Y%m%d%H%M%SZ}"
        signed = ("-cert", self.certificate, "-keyfile", self._key, "-startdate", _BEGINS_AT, "-enddate", ends_at)
        form = ("-batch", "-notext", "-config", config, "-extensions", "leaf")
        _openssl("ca", "-in", request, "-out", leaf, *signed, *form)
        both.write_bytes(key.read_bytes() + leaf.read_bytes())
        return both

    def encrypted(self, certificate: Path, passphrase: str) -> Path:
        """Return the same, with an encrypted key."""
        file = certificate.with_suffix(".encrypted")
        _openssl("pkey", "-in", certificate, "-aes256", "-passout", f"pass:{passphrase}", "-out", file)
        file.write_bytes(file.read_bytes() + certificate.with_suffix(".crt").read_bytes())
        return file

    def _config(self, name: str, host: str) -> Path:
        file = self._folder / f"{name}.cnf"
        file.write_text(_CONFIG.format(name=name, host=host, folder=self._folder))
        return file


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
