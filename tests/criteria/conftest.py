from __future__ import annotations

import pytest
from residual_net import batches, net_structure, trained_net
from torch.nn import functional as F

from autoprune.criteria import Context


@pytest.fixture
def context() -> Context:
    return Context(trained_net(), net_structure(), batches, F.cross_entropy)
