import pytest
import torch

from autoprune.errors import ConfigError
from autoprune.tasks.inputs import make_inputs


def test_shapes_and_types() -> None:
    image, tokens, half = make_inputs(["1x3x8x8", "2x20:int64", "4:bfloat16"])
    assert (image.shape, image.dtype) == ((1, 3, 8, 8), torch.float32)
    assert image.std() > 0.5
    assert (tokens.shape, tokens.dtype) == ((2, 20), torch.int64)
    assert not tokens.any()
    assert half.dtype is torch.bfloat16
    assert torch.equal(image, make_inputs(["1x3x8x8"])[0])


@pytest.mark.parametrize("text", ["", "3x", "x3", "1x3:float31", "0x3", "1,3,224,224", "99999x99999", "1x-3"])
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"input .*(give 1 to|write '1x3x224x224')"):
        make_inputs([text])
