"""Labels alone, UniMatch and RCC on CamVid's drives: one command from the images to the table.

    make study DATA=data/camvid
    python benchmarks/real_images.py --data=data/camvid --weights=FILE --seeds=3

Makes images of half the size and the lists of drives, prints the expected time and shows one bar
for all runs of `configs/sweeps/real_images.py:drives`. Then it scores the last checkpoint of each
run once on the test list and prints the table. Interrupted runs are resumed, finished ones are only
read. `benchmarks/study.py` keeps the runs in the repository.
"""

import argparse
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import study_tables  # noqa: E402
from benchmarks.followed_runs import Followed, steps_done  # noqa: E402
from configs import camvid_drives  # noqa: E402
from configs.sweeps import real_images  # noqa: E402
from rcc_jax import shipped  # noqa: E402
from rcc_jax.commands import sweep  # noqa: E402
from rcc_jax.commands.sweep import SweepRun  # noqa: E402
from rcc_jax.reporting import run_results, tables  # noqa: E402

STEPS = camvid_drives.get_config().train.num_steps
# Of a step, evaluations included, on two idle cores of a CPU without AVX-512: measured for
# UniMatch, estimated for the others from runs on one core.
SECONDS = {"supervised": 1.8, "unimatch": 3.4, "rcc": 3.5}
SECONDS_PER_RUN = 60  # Compilation.
TEST = "splits/test.txt"
NEEDED = ("splits/train.txt", "splits/val.txt", TEST)


def prepare(data: pathlib.Path, small: pathlib.Path) -> None:
    """Writes the smaller images and the lists of drives, unless all of it is there.

    Raises:
        SystemExit: If the tool fails, with its exit code; it has said why.
    """
    lists = small / "splits/drives"
    # They are written last; what an interrupted start has left is written again.
    if all((lists / f"{part}.txt").exists() for part in ("labeled", "unlabeled")):
        return
    split = ["split", f"--data={small / 'splits/train.txt'}", "--count=12", "--every=8"]
    split += ["--from=*0006R0*", "--start=4", "--rest=others", f"--output={lists}"]
    for command in (["shrink", f"--source={data}", f"--output={small}"], split):
        finish([sys.executable, "-m", "input_pipeline.prepare", *command], cwd=REPOSITORY)


def finish(command: list[str], **options) -> None:
    """Runs a command to its end; a failed one, which has said why, ends this program too."""
    if code := sweep.run_process(command, **options):
        sys.exit(code if code > 0 else 1)


def method_of(run: SweepRun) -> str:
    """The method in the arguments of a run."""
    arguments = run.config.partition(":")[2].split(",")
    return next(each.removeprefix("method=") for each in arguments if each.startswith("method="))


def expected_time(runs: list[SweepRun]) -> str:
    """A line on the time that is left, and on what it holds for."""
    seconds = 0.0
    for run in runs:
        left = STEPS - steps_done(run.workdir, STEPS)
        seconds += left * SECONDS[method_of(run)] + (SECONDS_PER_RUN if left else 0)
    if not seconds:
        return f"all {len(runs)} runs are done; they are only read."
    return (
        f"{len(runs)} runs of {STEPS} steps: about {seconds / 3600:.1f} hours on two idle CPU "
        "cores. Ctrl-C stops it; the same command resumes."
    )


def train(runs: list[SweepRun], overrides: list[str]) -> None:
    """Trains the unfinished runs and scores each on the test list."""
    done = [steps_done(run.workdir, STEPS) for run in runs]
    print(expected_time(runs), flush=True)
    with Followed(len(runs) * STEPS, sum(done)) as followed:
        for run, before in zip(runs, done, strict=True):
            arguments = run.command(overrides)[len(shipped.command()) :]
            followed.run(run.workdir.name, arguments, STEPS, before)
            if run_results.scores_on_test(run.workdir, STEPS) is None:
                command = [*run.command(overrides), "--mode=eval", f"--list={TEST}"]
                finish(command, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of CamVid")
    parser.add_argument("--weights", default="imagenet", help="ImageNet weights, or their file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, default=REPOSITORY / "runs" / "drives")
    arguments = parser.parse_args()
    missing = [name for name in NEEDED if not (arguments.data / name).is_file()]
    if missing:
        sys.exit(
            f"error: {arguments.data}: no {missing[0]}. DATA is the folder of CamVid that "
            "configs/camvid.py describes, with a list splits/test.txt of another drive."
        )
    small = arguments.folder.resolve() / "images"
    prepare(arguments.data.resolve(), small)
    entries = real_images.get_config(f"drives,seeds={arguments.seeds}").runs
    runs = sweep.plan(entries, arguments.folder)
    train(runs, [f"data.root={small}", f"model.pretrained={arguments.weights}"])
    results = run_results.gather(arguments.folder, log=lambda line: None)
    print(f"\n{tables.markdown(results)}")
    kept = [({}, result) for result in results]
    print(study_tables.against_baseline(kept))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
