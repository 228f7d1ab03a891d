"""Values as they are typed for a field, and names that are nearly those of fields."""

import dataclasses
import inspect

import pytest

from configs import common
from rcc_jax.config import fields, groups
from rcc_jax.errors import ConfigError
from rcc_jax.evaluation.tta import Protocol
from rcc_jax.models.deeplabv3plus import DeepLabV3Plus


@pytest.mark.parametrize(
    ("field", "texts", "value"),
    [
        ("seed", ["3"], 3),
        ("seed", ["3", "4"], 4),
        ("method.ema_decay", ["1"], 1.0),
        ("optimizer.weight_decay", ["5e-4"], 5e-4),
        ("model.remat", [None], True),
        ("model.remat", ["True"], True),
        ("model.freeze_bn", ["0"], False),
        ("data.root", ["a,b c"], "a,b c"),
        ("data.val", ["5"], "5"),
        ("model.aspp_rates", ["6,12"], (6, 12)),
        ("model.aspp_rates", ["(6, 12)"], (6, 12)),
        ("model.aspp_rates", ["6"], (6,)),
        ("eval.scales", ["0.5", "1.0"], (0.5, 1.0)),
        ("data.class_names", ["sky,road"], ("sky", "road")),
        ("data.class_names", ["sky, road"], ("sky", "road")),
        ("data.class_names", ["'the sky','road'"], ("the sky", "road")),
        ("data.class_names", ["'the sky',road"], ("the sky", "road")),
        ("data.class_names", ["the sky,road"], ("the sky", "road")),
        ("data.class_names", ["'sky, blue',01"], ("sky, blue", "01")),
        ("data.class_names", ["it's,b"], ("it's", "b")),
        ("data.class_names", ["class,{[1]:2}"], ("class", "{[1]:2}")),
        ("data.class_names", ["a/b"], ("a/b",)),
        ("data.class_names", [""], ()),
    ],
)
def test_values_are_read_by_the_type_of_the_field(field, texts, value):
    config = common.get_config().lock()
    assert fields.override(config, field, texts, f"--config.{field}") == value
    group, _, name = field.rpartition(".")
    found = (config[group] if group else config)[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("seed", "1.5", "--x=1.5: must be a whole number."),
        ("seed", "", "--x=: must be a whole number."),
        ("seed", None, "--x: has no value; write --x=VALUE."),
        ("method.ema_decay", "x", "--x=x: must be a number."),
        ("model.remat", "2", "--x=2: must be true or false."),
        ("train", "2", "--x=2: is a group of fields; set one of them."),
        ("data.class_names", "a,,c", "--x=a,,c: must be comma-separated names or numbers"),
        ("data.class_names", "'a,c", "--x='a,c: must be comma-separated names or numbers"),
    ],
)
def test_values_of_another_type_are_refused(field, text, said):
    with pytest.raises(ConfigError) as caught:
        fields.override(common.get_config(), field, [text], "--x")
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("train.batchsize", "did you mean --config.train.batch_size?"),
        ("train.epochs", "did you mean --config.train.num_epochs?"),
        # Of this name in other groups.
        ("train.every_steps", "did you mean --config.checkpoint.every_steps or --config.eval.eve"),
        ("optimizer.lr", "optimizer has beta1, "),
        ("nowhere.zzz", "see docs/fields.md."),
    ],
)
def test_fields_that_are_none(field, hint):
    message = fields.unknown(f"--config.{field}", field)
    assert message.startswith(f"--config.{field}: there is no such field; {hint}")


def test_fields_that_there_are():
    assert all(fields.unknown("--x", field) is None for field in fields.known())


@pytest.mark.parametrize(
    ("made", "group"), [(DeepLabV3Plus, groups.Model), (Protocol, groups.Eval)]
)
def test_what_is_made_without_a_configuration_has_its_defaults(made, group):
    own = {field.name: field.default for field in dataclasses.fields(group)}
    given = {
        name: parameter.default
        for name, parameter in inspect.signature(made.__init__).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    # Windows have no size where nobody asks for windows; a type is written as its name.
    shared = (given.keys() & own.keys()) - {"window", "stride", "dtype"}
    assert len(shared) >= 4
    assert {name: given[name] for name in shared} == {name: own[name] for name in shared}
