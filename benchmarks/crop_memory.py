"""Memory of a step with DINOv2 by crop, with the encoder frozen and tuned.

    python benchmarks/crop_memory.py --results=benchmarks/results/crop_memory.json

No step is taken: XLA counts what it plans for the state, the batch and the temporary arrays of the
compiled step. It plans differently for a CPU and for a GPU, so run it where you train.
"""

import argparse
import json
import pathlib

import environment
import method_cost
import steps

CONFIG = "configs/msrc.py:20,backbone=dinov2_small"
GIB = 2**30


def rows(crops: list[int], method: str, dtype: str, batch: int, config: str = CONFIG):
    """Yields the rows so far after each: a crop, whether the encoder is frozen, and bytes."""
    found = []
    for crop in crops:
        for frozen in (True, False):
            setting = method_cost.configured(config, method, dtype)
            setting.data.crop_size, setting.train.batch_size = crop, batch
            setting.model.freeze_encoder = frozen
            setup = method_cost.Setup(setting)
            planned = steps.planned_bytes(setup, setup.run.method)
            found.append({"crop": crop, "frozen": frozen, "bytes": planned})
            kind = "frozen" if frozen else "tuned"
            print(f"crop {crop}, encoder {kind}: {planned / GIB:.2f} GiB", flush=True)
            yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", default="168,322,518", help="by commas")
    parser.add_argument("--method", default="unimatch_v2")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, default=4, help="labelled = unlabelled images")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    given = parser.parse_args()
    crops = [int(text) for text in given.crops.split(",")]
    for found in rows(crops, given.method, given.dtype, given.batch, given.config):
        if given.results:
            record = {**environment.describe(), "config": given.config, "method": given.method}
            record |= {"dtype": given.dtype, "batch": given.batch, "rows": found}
            given.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
