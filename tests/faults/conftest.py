"""Workers that may import the faulty package, beside those of the contract's tests."""

from tests.contract.conftest import pytest_runtest_makereport, shared_worker, worker

__all__ = ["pytest_runtest_makereport", "shared_worker", "worker"]
