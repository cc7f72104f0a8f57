"""The distances by which benchmarks judge pictures, written again in NumPy; and the command that tells them."""

import sys

import numpy as np
import pytest

from styleserve import images
from styleserve.model.vgg import VggNetwork
from support.network import NARROW, random_filters, see, smooth, style

#: Of the pictures, and of the style's image, which is seen as it is by the larger of the two sizes.
SIZE = (64, 64)
STYLE_LAYERS = [f"block{block}_conv1" for block in range(1, 6)]


def delivered(picture):
    return np.float32(images.to_uint8(picture)) / np.float32(255)


def features(picture, name):
    return np.float64(see(VggNetwork(random_filters(0, NARROW), "float32"), picture, [name], False)[name])[0]


def gram(flow):
    """G / M."""
    return np.einsum("hwi,hwj->ij", flow, flow) / (flow.shape[0] * flow.shape[1])


def distance(own, wanted):
    return np.linalg.norm(own - wanted) / np.linalg.norm(wanted)


def test_distances_are_relative_and_the_style_is_a_mean_over_layers_and_two_sizes(benchmark):
    picture, content, painted = smooth(1, *SIZE), smooth(2, *SIZE), style(3)
    judgement = benchmark("judgement").Judge(random_filters(0, NARROW)).judge(picture, content, painted)
    own, painting = delivered(picture), images.decode(painted.data, images.ImageLimits()).pixels
    sizes = [[image, images.resize(image, 32, 32)] for image in (own, painting)]
    distances = [
        distance(*(gram(features(image, name)) for image in pair))
        for pair in zip(*sizes, strict=True)
        for name in STYLE_LAYERS
    ]
    assert judgement.style == pytest.approx(np.mean(distances), rel=1e-3)
    contents = distance(features(own, "block4_conv2"), features(content, "block4_conv2"))
    assert judgement.content == pytest.approx(contents, rel=1e-3)


@pytest.fixture
def told(benchmark, monkeypatch, tmp_path, capsys):
    """What the command prints of these pictures, the first the photograph and the second the painting."""

    def judge(*pictures):
        paths = [tmp_path / f"{rank}.png" for rank in range(len(pictures))]
        for path, pixels in zip(paths, pictures, strict=True):
            path.write_bytes(images.encode(images.Picture(pixels, None), "png").data if pixels is not None else b"no")
        judgement = benchmark("judgement")
        monkeypatch.setattr(judgement.subjects, "vgg19", lambda: random_filters(0, NARROW))
        monkeypatch.setattr(sys, "argv", ["judgement", *map(str, paths)])
        judgement.main()
        _, _, *lines, by = capsys.readouterr().out.splitlines()
        assert by == f"judged by {random_filters(0, NARROW).label} in float32"
        rows = [line.strip("| ").split(" | ") for line in lines]
        return {name.rpartition("/")[2]: (float(style), float(content)) for name, style, content in rows}

    return judge


def test_pictures_of_any_size_are_told_their_distances(told):
    photograph, painting = delivered(smooth(1, 96, 64)), delivered(smooth(2, 96, 64))
    distances = told(photograph, painting, photograph, painting, images.resize(photograph, 48, 32))
    assert distances["2.png"][1] == 0 < distances["2.png"][0]
    assert distances["3.png"][0] == 0 < distances["3.png"][1]
    assert 0 < distances["4.png"][1] < distances["3.png"][1] / 5


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([smooth(1, 96, 64), smooth(2), smooth(3, 96, 60)], "2.png has 60 x 96 pixels, the photograph 64 x 96"),
        ([smooth(1, 96, 64), smooth(2), smooth(3, 36, 24)], "2.png: got 24 x 36 pixels; allowed: sides of at least 32"),
        ([smooth(1, 96, 64), None, smooth(3, 96, 64)], "1.png: the first bytes are those of no image we read"),
    ],
)
def test_files_that_cannot_be_judged_are_refused_before_anything_is(told, capsys, pictures, message):
    with pytest.raises(SystemExit):
        told(*pictures)
    assert message in capsys.readouterr().err


def test_a_picture_may_be_much_larger_than_its_photograph(told):
    enlarged = images.resize(smooth(1, 43, 64), 341, 512)  # 344 rows would be in proportion
    assert told(smooth(1, 43, 64), smooth(2), enlarged)["2.png"][1] < 1
