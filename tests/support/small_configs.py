"""The demo with a tiny network, and the message of an error."""

import pytest

from configs import demo


def changed(config, fields):
    with config.unlocked():
        config.update_from_flattened_dict(fields)
    return config


def tiny(**fields):
    """The demo with a tiny network, and dotted fields (written with __) changed."""
    defaults = {
        "model.width": 8,
        "model.decoder_channels": 16,
        "data.crop_size": 33,
        "data.labeled": "0:10",
        "data.unlabeled": "1000:1008",
        "data.val": "100000:100002",
        "train.batch_size": 8,
    }
    fields = {name.replace("__", "."): value for name, value in fields.items()}
    return changed(demo.get_config(), defaults | fields)


def message(error_type, function, *arguments):
    with pytest.raises(error_type) as caught:
        function(*arguments)
    return str(caught.value)
