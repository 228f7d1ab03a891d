"""The layers that `benchmarks/conv_layers.py` measures."""


def test_equal_blocks_are_counted_one_by_one(script):
    layers = script("conv_layers").distinct_layers("resnet50", 33, 2)
    found = {
        (x[1], kernel[3], stride, dilation): count
        for (x, kernel, stride, dilation), count in layers.items()
        if kernel == (3, 3, kernel[3], kernel[3])
    }
    # Side, channels, stride and dilation. He et al. 2016, table 1: 3, 4, 6 and 3 blocks.
    stages = {
        (9, 64, 1, 1): 3,
        (9, 128, 2, 1): 1,
        (5, 128, 1, 1): 3,
        (5, 256, 2, 1): 1,
        (3, 256, 1, 1): 5,
        (3, 512, 1, 1): 1,
        (3, 512, 1, 2): 2,
    }
    assert found == {**stages, (17, 64, 1, 1): 1, (9, 256, 1, 1): 1}  # With stem and decoder.
    # 53 in a ResNet-50, two more in the deep stem, 10 in the head.
    assert sum(layers.values()) == 65
