"""Command line of the preparation.

python -m input_pipeline.prepare pascal --source=DOWNLOADS --data_dir=data
python -m input_pipeline.prepare cityscapes --source=DOWNLOADS --data_dir=data
python -m input_pipeline.prepare split --data=data/pascal --count=92 --output=data/splits/mine
python -m input_pipeline.prepare shrink --source=data/camvid --output=data/camvid_half
"""

import argparse
import dataclasses
import os
import sys

from input_pipeline.errors import DataError, WorkerError

BAD_INPUT = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.prepare",
        description="From official archives to TFDS datasets; partitions; smaller images.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_archives(commands)
    _add_split(commands)
    shrink = commands.add_parser("shrink", help="copies a folder with smaller images and masks")
    shrink.add_argument("--source", required=True, help="folder of images, masks and lists")
    shrink.add_argument("--output", required=True, help="the copy")
    shrink.add_argument("--factor", type=int, default=2, help="of height and width (2)")
    return parser


def _add_archives(commands) -> None:
    archives = {
        "pascal": ("VOCtrainval_11-May-2012.tar and SBD's benchmark.tgz", "pascal"),
        "cityscapes": (
            "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
            "cityscapes_fine",
        ),
    }
    for name, (files, dataset) in archives.items():
        command = commands.add_parser(name, help=f"from {files} to DATA_DIR/{dataset}/1.0.0")
        command.add_argument(
            "--source",
            action="append",
            required=True,
            help=f"folder with {files}, packed or unpacked, or one of them; may be repeated",
        )
        command.add_argument("--data_dir", default="data", help="folder of datasets (data)")
        command.add_argument(
            "--threads", type=int, default=os.cpu_count(), help="threads that convert masks"
        )
        command.add_argument(
            "--allow_counts",
            action="store_true",
            help="take archives with other numbers of images than the official ones, for instance "
            "the miniature ones of the tests",
        )


def _add_split(commands) -> None:
    split = commands.add_parser("split", help="draws labelled images: lists of `image label`")
    split.add_argument(
        "--data", required=True, help="a prepared dataset, or a list of all training images"
    )
    split.add_argument("--count", type=int, required=True, help="number of labelled images")
    split.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    split.add_argument(
        "--kind", choices=("any", "fine", "coarse"), default="any",
        help="draw among fine (VOC) or coarse (SBD) masks alone",
    )  # fmt: skip
    split.add_argument(
        "--from", dest="match", default="*", metavar="GLOB",
        help="draw among images with such names alone, such as '*0006R0*'",
    )  # fmt: skip
    split.add_argument(
        "--every", type=int, default=0, help="take every n-th of them instead of a random draw"
    )
    split.add_argument("--start", type=int, default=1, help="the first to take, from 1 (1)")
    split.add_argument(
        "--rest", choices=("all", "others"), default="all",
        help="unlabelled: all other images, or only those that --from does not match",
    )  # fmt: skip
    split.add_argument("--output", required=True, help="folder for labeled.txt and unlabeled.txt")


def _run(arguments: argparse.Namespace) -> None:
    # Imported here, so that --help does not wait for the libraries.
    if arguments.command == "split":
        from input_pipeline.prepare import splits

        names = (field.name for field in dataclasses.fields(splits.Choice))
        choice = splits.Choice(**{name: getattr(arguments, name) for name in names})
        splits.prepare(arguments.data, arguments.output, choice)
        return
    if arguments.command == "shrink":
        from input_pipeline.prepare import shrink

        shrink.prepare(arguments.source, arguments.output, factor=arguments.factor)
        return
    from input_pipeline.prepare import cityscapes, dataset, pascal

    recipe = {"pascal": pascal.RECIPE, "cityscapes": cityscapes.RECIPE}[arguments.command]
    options = dataset.Options(arguments.allow_counts, max(1, arguments.threads or 1))
    dataset.prepare(recipe, arguments.source, arguments.data_dir, options=options)


def main(argv: list[str] | None = None) -> int:
    """Runs a command; 0, or 2 after bad input, 1 after another fault, 130 after Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return BAD_INPUT
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command resumes.", file=sys.stderr, flush=True)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
