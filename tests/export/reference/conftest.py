import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors on several threads wait for one another when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
