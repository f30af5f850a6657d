import os
from pathlib import Path

import pytest


@pytest.fixture
def data_dir() -> Path:
    if "MMEDGE_DATA" not in os.environ:
        pytest.skip("set MMEDGE_DATA to the folder with the recordings")
    return Path(os.environ["MMEDGE_DATA"])
