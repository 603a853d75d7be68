import pytest

from autoprune.config.bounds import parse_bounds
from autoprune.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "width", "units"),
    [
        ("layer1.*=8..64", 128, (8, 64)),
        ("layer1.* = 8..64", 32, (8, 32)),
        ("*=25%..75%", 64, (16, 48)),
        ("*=0..0%", 64, (1, 1)),
        ("*=50%..10", 64, (10, 10)),
        ("*=16..16", 8, (8, 8)),
    ],
)
def test_units(text: str, width: int, units: tuple[int, int]) -> None:
    (bound,) = parse_bounds((text,))
    assert bound.units(width) == units
    assert bound.covers("layer1.0.conv1")


@pytest.mark.parametrize(
    "text", ["", "a", "a=3", "a=3..", "=1..2", "a=-1..4", "a=1.5..3", "a=9..3", "a=50%..20%"]
)
def test_what_cannot_be_read_is_named_with_correct_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"bound .*write 'layer1"):
        parse_bounds((text,))
