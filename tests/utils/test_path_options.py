import pytest

from autoprune.utils.path_options import split_options


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("photos", ("photos", "")),
        ("./photos,size=64,std=0.5", ("./photos", "size=64,std=0.5")),
        ("a, b/photos", ("a, b/photos", "")),
        ("a,b=1/photos", ("a,b=1/photos", "")),
        (",size=64", ("", "size=64")),
        ("", ("", "")),
    ],
)
def test_options_stand_behind_the_folder(text: str, parts: tuple[str, str]) -> None:
    assert split_options(text) == parts
