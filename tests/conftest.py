"""How the tests are run: in how many processes, with which signals, and with which certificates."""

import os
import signal
import ssl
import tempfile
from pathlib import Path

import pytest


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a quarter of the time is spent waiting, for a grace or a deadline."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """What the tests start hears interrupts: a shell has what it sends to the background ignore them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _trust_one_certificate(config)


def _trust_one_certificate(config: pytest.Config) -> None:
    """No test leaves the machine, and each client loads all that are trusted: 40 ms for those of a whole system."""
    for known in ssl.create_default_context().get_ca_certs(binary_form=True)[:1]:
        with tempfile.NamedTemporaryFile("w", prefix="axon-port-", suffix=".pem", delete=False) as store:
            store.write(ssl.DER_cert_to_PEM_cert(known))
        os.environ["SSL_CERT_FILE"] = store.name
        config.add_cleanup(Path(store.name).unlink)
