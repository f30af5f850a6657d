"""What tests of the benchmarks share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _lock_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Benchmarks refuse to run while another one does; tests in other processes are none that would disturb."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("lock")))
        yield
