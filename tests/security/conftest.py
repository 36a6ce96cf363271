"""A test that failed gets the conversation of its worker, and a new worker after it."""

from tests.contract.conftest import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]
