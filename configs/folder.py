"""Your own images: a folder of images and masks for some of them; nothing else must be set.

    python main.py --config=configs/folder.py --config.data.root=DIR

DIR has the folders `images` and `masks` (a mask has the name of its image; the suffix may differ),
or a file `labeled.txt` with one `image mask` pair per line. More unlabelled images may be in
`unlabeled`. Unset fields are guessed from these data at the first start, printed, and recorded in
the run's config.json; see rcc_jax/config/guess.py. docs/own_data.md explains all steps. The first
start looks for the backbone's usual weights on the Hugging Face hub; if it cannot be reached, the
weights are random.

With `--mode=check`, the same command only reads all data, reports what is wrong with them and
suggests settings that fix it.
"""

from configs import common


def get_config(arguments=None):
    chosen = common.parse_cell(arguments, method="auto", backbone="resnet50")
    config = common.get_config()
    config.data.num_classes = 0
    config.data.crop_size = 0
    config.model.stem = "v1"
    config.model.pretrained = "auto"
    config.method.top_n = 0
    common.apply_cell(config, chosen)
    config.optimizer.learning_rate = 0.002
    config.train.num_steps = 4000
    config.eval.every_steps = 500
    return common.fit_short(config, "auto", model__freeze_encoder=True)
