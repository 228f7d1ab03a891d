"""The segmentation network: types, shapes, perturbation, statistics, memory and devices."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from rcc_jax.methods.passes import interleave, separate
from rcc_jax.methods.unimatch import drop_channels
from rcc_jax.models import DeepLabV3Plus
from rcc_jax.models.layers import Conv, dropout_channels


def pure_split(model):
    """Graph definition, parameters and statistics; fails if the model holds any other state."""
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def clean_and_dropped(model, images, key, *, train):
    """Logits of the features, and of their copy with dropped channels, as UniMatch decodes them."""
    features = model.encode(images, train=train)
    both = jax.tree.map(interleave, features, drop_channels(features, key))
    return separate(model.decode(both, images.shape[1:3], train=train))


def loss_and_gradients(model, images, key=None):
    """Jitted training step's loss, gradients and new statistics."""
    graphdef, params, stats = pure_split(model)

    def loss_fn(params, images):
        copy = nnx.merge(graphdef, params, stats)
        if key is None:
            logits = [copy(images, train=True)]
        else:
            logits = clean_and_dropped(copy, images, jax.random.key(key), train=True)
        loss = sum(jnp.mean(jax.nn.logsumexp(x, axis=-1) - x[..., 0]) for x in logits)
        return loss, nnx.to_pure_dict(nnx.state(copy, nnx.BatchStat))

    step = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (loss, new_stats), gradients = step(params, images)
    return loss, gradients, new_stats


def test_each_map_of_a_transformer_loses_channels_of_its_own():
    levels = [jnp.ones((2, 3, 3, 64))] * 4
    kept = [np.asarray(x)[:, 0, 0] for x in drop_channels(levels, jax.random.key(0))]
    assert all(set(np.unique(x)) == {0.0, 2.0} for x in kept)
    rows = np.concatenate(kept)  # [images of all maps, channels]
    assert len(np.unique(rows, axis=0)) == 8


@pytest.mark.parametrize(
    ("backbone", "count"), [("resnet50", 40_475_957), ("resnet101", 59_468_085)]
)
def test_parameter_count(backbone, count):
    model = nnx.eval_shape(lambda: DeepLabV3Plus(21, backbone, rngs=nnx.Rngs(0)))
    params = nnx.state(model, nnx.Param)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == count


@pytest.mark.parametrize(
    ("size", "output_stride", "stem"),
    [((33, 33), 16, "deep"), ((32, 47), 8, "deep"), ((65, 18), 16, "v1"), ((18, 19), 8, "v1")],
)
def test_logits_have_the_size_of_the_images(make_model, size, output_stride, stem):
    model = make_model(stem=stem, output_stride=output_stride)
    x = jax.ShapeDtypeStruct((3, *size, 3), jnp.float32)
    logits = jax.eval_shape(lambda x: model(x, train=False), x)
    assert (logits.shape, logits.dtype) == ((3, *size, 5), jnp.float32)
    low, high = jax.eval_shape(lambda x: model.encode(x, train=False), x)
    assert low.shape[1:3] == tuple(-(-side // 4) for side in size)
    assert high.shape[1:3] == tuple(-(-side // output_stride) for side in size)


def test_low_level_features_scale_with_the_decoder(make_model):
    assert make_model(decoder_channels=256).reduce.conv.kernel.shape[3] == 48
    assert make_model(decoder_channels=32).reduce.conv.kernel.shape[3] == 6


def test_decoder_starts_as_in_torch():
    """Uniform in +-1/sqrt(fan in), also for the classifier's bias."""
    model = DeepLabV3Plus(100, "resnet18", "v1", width=2, decoder_channels=64, rngs=nnx.Rngs(0))
    convs = [(path[0], n) for path, n in nnx.iter_graph(model) if isinstance(n, Conv)]
    decoder = [conv for part, conv in convs if part != "backbone"]
    assert len(decoder) == 6 + 1 + 2 + 1
    values = [(conv.kernel[...], conv.kernel.shape) for conv in decoder]
    values.append((model.classifier.bias[...], model.classifier.kernel.shape))
    for value, (height, width, in_features, _) in values:
        bound = (height * width * in_features) ** -0.5
        assert 0.9 * bound < np.abs(value).max() <= bound * (1 + 1e-6)
        np.testing.assert_allclose(np.std(value), bound / math.sqrt(3), rtol=0.2)


@pytest.fixture(scope="module")
def evaluated():
    """Float32 logits of the default small network in eval mode, as a function of images."""
    results = {}

    def run(model, images):
        if "logits" not in results:
            results["logits"] = np.asarray(jax.jit(lambda x: model(x, train=False))(images))
        return results["logits"]

    return run


@pytest.mark.slow
def test_bfloat16_is_near_float32(make_model, images, evaluated):
    exact = evaluated(make_model(), images)
    graphdef, params, stats = pure_split(make_model(dtype=jnp.bfloat16))

    @jax.jit
    def run(images):
        model = nnx.merge(graphdef, params, stats)
        logits = model(images, train=False), model(images, train=True)
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    (evaluation, training), stats = run(images)
    assert np.abs(evaluation - exact).max() < 0.05 * np.ptp(exact)
    for leaf in jax.tree.leaves((evaluation, training, params, stats)):
        assert leaf.dtype == jnp.float32
        assert jnp.isfinite(leaf).all()
    # Features inside are narrow: that is what saves memory.
    high = jax.eval_shape(
        lambda x: nnx.merge(graphdef, params, stats).backbone(x, train=False)[3],
        images.astype(jnp.bfloat16),
    )
    assert high.dtype == jnp.bfloat16


def test_float64_throughout(make_model, images, evaluated):
    single = evaluated(make_model(), images)
    with jax.enable_x64(True):
        model = make_model(dtype=jnp.float64)
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(pure_split(model)[1:]))
        logits = jax.jit(lambda x: model(x, train=False))(images)
        assert logits.dtype == jnp.float64
        np.testing.assert_allclose(single, logits, atol=1e-5 * np.ptp(logits))


def test_dropout_drops_whole_channels_of_single_examples():
    x = jnp.ones((6, 3, 4, 500))
    y = np.asarray(dropout_channels(x, jax.random.key(0)))
    assert set(np.unique(y)) == {0.0, 2.0}
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    kept = y[:, 0, 0] > 0
    assert 0.42 < kept.mean() < 0.58
    assert all((kept[i] != kept[j]).mean() > 0.35 for i in range(6) for j in range(i))


def test_perturbed_logits_are_of_dropped_features(make_model, images, evaluated):
    """Clean logits are those without perturbation, the others a decoding of dropped features."""
    model = make_model()

    @jax.jit
    def run(images):
        key = jax.random.key(3)
        clean, perturbed = clean_and_dropped(model, images, key, train=False)
        low, _, _, high = model.backbone(images, train=False)
        low = dropout_channels(low, jax.random.fold_in(key, 0))
        high = dropout_channels(high, jax.random.fold_in(key, 1))
        expected = model.decode((low, high), low.shape[1:3], train=False)
        return clean, perturbed, expected

    plain = evaluated(model, images)
    clean, perturbed, quarter = run(images)
    np.testing.assert_allclose(clean, plain, atol=1e-5 * np.ptp(plain))
    # The corners of an aligned-corners resize are the corners of its input.
    corners = np.ix_([0, 1], [0, -1], [0, -1])
    np.testing.assert_allclose(perturbed[corners], quarter[corners], atol=1e-5 * np.ptp(plain))
    assert np.abs(perturbed - clean).max() > 0.1 * np.ptp(plain)


def test_decoder_statistics_see_clean_and_dropped_features(make_model, images):
    graphdef, params, stats = pure_split(make_model(stem="v1"))

    @jax.jit
    def run(images):
        model = nnx.merge(graphdef, params, stats)
        key = jax.random.key(5)
        clean_and_dropped(model, images, key, train=True)
        after = nnx.to_pure_dict(nnx.state(model.reduce.bn, nnx.BatchStat))
        model = nnx.merge(graphdef, params, stats)
        low, *_ = model.backbone(images, train=True)
        dropped = dropout_channels(low, jax.random.fold_in(key, 0))
        features = model.reduce.conv(jnp.concatenate([low, dropped]))
        # The running variance is unbiased.
        return after, features.mean(axis=(0, 1, 2)), features.var(axis=(0, 1, 2), ddof=1)

    after, mean, var = run(images)
    before = stats["reduce"]["bn"]
    np.testing.assert_allclose(after["mean"], 0.9 * before["mean"] + 0.1 * mean, atol=1e-5)
    np.testing.assert_allclose(after["var"], 0.9 * before["var"] + 0.1 * var, rtol=1e-4)


def test_frozen_statistics_stay(make_model, images):
    graphdef, params, stats = pure_split(make_model(stem="v1", freeze_bn=True, remat=True))

    @jax.jit
    def run(images):
        model = nnx.merge(graphdef, params, stats)
        logits = model(images, train=True), model(images, train=False)
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    (training, evaluation), after = run(images)
    np.testing.assert_allclose(training, evaluation, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after, stats)


def test_two_training_passes_chain_their_statistics(make_model, images):
    graphdef, params, stats = pure_split(make_model(stem="v1"))

    @jax.jit
    def run(first, second):
        model = nnx.merge(graphdef, params, stats)
        stem = model.backbone.stem[0]
        model.backbone(first, train=True)
        model.backbone(second, train=True)
        return stem.bn.mean[...], [stem.conv(x).mean(axis=(0, 1, 2)) for x in (first, second)]

    mean, (first, second) = run(images, images[:, ::-1] + 1)
    before = stats["backbone"]["stem"][0]["bn"]["mean"]
    expected = 0.9 * (0.9 * before + 0.1 * first) + 0.1 * second
    np.testing.assert_allclose(mean, expected, atol=1e-5)


@pytest.mark.slow
def test_remat_on_eight_devices_equals_plain_on_one(make_model):
    """Over a sharded batch, loss, gradients and statistics are those of the whole batch.

    In float64, since train-mode BatchNorm amplifies rounding.
    """
    x = np.random.default_rng(0).standard_normal((8, 17, 17, 3)).astype(np.float32)
    with jax.enable_x64(True):
        plain = make_model(stem="v1", dtype=jnp.float64)
        expected = loss_and_gradients(plain, x, key=2)
        mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
        sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        graphdef, params, stats = pure_split(make_model(stem="v1", dtype=jnp.float64, remat=True))
        params, stats = jax.device_put((params, stats), NamedSharding(mesh, PartitionSpec()))
        result = loss_and_gradients(nnx.merge(graphdef, params, stats), sharded, key=2)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), result, expected)
        leaves = jax.tree.leaves(result)
        assert all(leaf.dtype == jnp.float64 for leaf in leaves)


def test_remat_wraps_every_block_and_evaluates_in_a_closure(make_model, images):
    plain, remat = make_model(), make_model(remat=True)
    program = str(jax.make_jaxpr(lambda x: remat(x, train=False))(images))
    assert program.count("remat") >= 4
    assert "remat" not in str(jax.make_jaxpr(lambda x: plain(x, train=False))(images))


def test_export_with_symbolic_sizes(make_model, images, evaluated):
    graphdef, params, stats = pure_split(make_model())
    run = jax.jit(lambda state, x: nnx.merge(graphdef, *state)(x, train=False))
    batch, height, width = export.symbolic_shape("b, h, w", constraints=["h >= 16", "w >= 16"])
    state = (params, stats)
    exported = export.export(run)(
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state),
        jax.ShapeDtypeStruct((batch, height, width, 3), jnp.float32),
    )
    logits = jax.jit(exported.call)(state, images)
    np.testing.assert_allclose(logits, evaluated(make_model(), images), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0"),
        ({"decoder_channels": 5}, "decoder_channels is 5"),
        ({"aspp_rates": (6, 12)}, "three dilations"),
        ({"dtype": jnp.float16}, "dtype is float16; use float32, bfloat16 or float64"),
        ({"dtype": jnp.float64}, "jax_enable_x64"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DeepLabV3Plus(**{"num_classes": 5, "backbone": "resnet18"} | arguments, rngs=nnx.Rngs(0))
