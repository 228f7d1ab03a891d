"""Seconds from a command to its first training step: cold, warm and resumed after a stop.

    python benchmarks/start.py --size=full

Trains RCC through main.py on drawn images in folders. Each start is a separate process that ends
after its second step: cold (without compiled programs), warm (with the cache of the first start)
and resumed (after a stop). The process itself measures its stages, around the functions that
main.py calls. `imports` begins with the command. If the cache holds the step, `compile` is only the
lookup, of which `reading` is XLA's reading the program back. All files that are read are in the
file cache of the operating system.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import PIL.Image

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
STARTED, REPORT = "RCC_BENCHMARK_STARTED", "RCC_BENCHMARK_REPORT"
SIZES = {
    "small": {"backbone": "resnet18", "width": 16, "crop": 65},
    "full": {"backbone": "resnet101", "width": 64, "crop": 65},
}
BATCH = 2
STAGES = (
    "imports", "data and network", "state", "first batch", "trace", "compile", "step", "other",
)  # fmt: skip
# A part of `compile`.
READING = "reading"
_EVENT = "/jax/compilation_cache/cache_retrieval_time_sec"


def write_images(root: pathlib.Path) -> None:
    """Writes images of blocks, some with masks of 21 classes and some without."""
    rng = np.random.default_rng(0)
    for name, count in (("images", 16), ("unlabeled", 32)):
        (root / name).mkdir()
        for number in range(count):
            blocks = rng.integers(0, 256, (7, 9, 3)).astype(np.uint8)
            image = PIL.Image.fromarray(blocks).resize((180, 140), PIL.Image.Resampling.NEAREST)
            image.save(root / name / f"{name}{number}.jpg")
    (root / "masks").mkdir()
    for number in range(16):
        ids = np.repeat(np.repeat(rng.permutation(21).reshape(3, 7), 47, 0), 26, 1)
        mask = np.zeros((140, 180), np.uint8)
        mask[:140, :180] = ids.astype(np.uint8)[:140, :180]
        PIL.Image.fromarray(mask).save(root / "masks" / f"images{number}.png")


class Stages:
    """The seconds from the command to its first training step, split into stages."""

    def __init__(self):
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.mark = float(os.environ[STARTED])

    def ends(self, stage: str) -> None:
        """Counts the time since the last mark for this stage."""
        now = time.time()
        self.seconds[stage] += now - self.mark
        self.mark = now

    def around(self, owner, name: str, before: str, stage: str) -> None:
        """Counts the time before a call of a function for one stage, and the call for another."""
        function = getattr(owner, name)

        def timed(*arguments, **named):
            self.ends(before)
            with contextlib.ExitStack() as stack:
                stack.callback(self.ends, stage)
                return function(*arguments, **named)

        setattr(owner, name, timed)


def times_of_reading() -> list[float]:
    """A list that gets the seconds of each program that JAX reads from its cache from now on."""
    import jax

    times: list[float] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: times.append(seconds) if event == _EVENT else None
    )
    return times


def child() -> None:
    """Does what main.py does and measures the stages; stops itself after the first step."""
    sys.path.insert(0, str(REPOSITORY))
    sys.argv[0] = str(REPOSITORY / "main.py")
    stages = Stages()
    import jax

    from rcc_jax.commands import evaluate, startup  # noqa: F401
    from rcc_jax.training import loop, nonfinite  # noqa: F401

    stages.ends("imports")
    stages.around(loop.Run, "build", "other", "data and network")
    stages.around(loop._Loop, "_initial_state", "other", "state")
    stages.around(loop._Loop, "_next_batch", "other", "first batch")
    compile_step = loop.compile_step
    read = times_of_reading()

    class Traced:
        """The jitted step, with its tracing and its compilation timed separately."""

        def __init__(self, function):
            self.function = function

        def lower(self, *arguments):
            lowered = self.function.lower(*arguments)
            stages.ends("trace")
            return lowered

    def compile_and_stop(function, *arguments):
        stages.ends("other")
        read.clear()
        compiled, line = compile_step(Traced(function), *arguments)
        stages.ends("compile")
        stages.seconds[READING] = sum(read)

        def step(*arguments):
            result = compiled(*arguments)
            if stages.mark is not None:
                jax.block_until_ready(result)
                stages.ends("step")
                pathlib.Path(os.environ[REPORT]).write_text(json.dumps(stages.seconds))
                stages.ends = lambda stage: None
                stages.mark = None
                os.kill(os.getpid(), signal.SIGTERM)
            return result

        return step, line

    loop.compile_step = compile_and_stop
    startup.run()


def start(root: pathlib.Path, name: str, cache: pathlib.Path, setting: dict) -> dict[str, float]:
    """Seconds by stage of one start in the folder `name`, until it has stopped and saved."""
    fields = {
        "data.root": root,
        "data.crop_size": setting["crop"],
        "model.backbone": setting["backbone"],
        "model.width": setting["width"],
        "model.decoder_channels": 4 * setting["width"],
        "model.pretrained": "",  # No download is measured.
        "method.name": "rcc",
        "train.batch_size": BATCH,
        "train.num_steps": 1000,
        "train.compilation_cache": cache,
    }
    command = [sys.executable, __file__, "--child", f"--config={REPOSITORY}/configs/folder.py"]
    command += [f"--workdir={root.parent / name}"]
    command += [f"--config.{field}={value}" for field, value in fields.items()]
    report = root.parent / "report.json"
    report.unlink(missing_ok=True)
    environment = {**os.environ, STARTED: str(time.time()), REPORT: str(report)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if not report.exists():
        sys.exit(f"the run failed:\n{ended.stdout[-1000:]}{ended.stderr[-3000:]}")
    return json.loads(report.read_text())


def measure(setting: dict, times: int) -> dict[str, list[dict[str, float]]]:
    """The starts of each kind: one cold, `times` of each of the others."""
    found = {"cold": [], "warm": [], "resumed": []}
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "photos"
        root.mkdir()
        write_images(root)
        cache = pathlib.Path(folder) / "compiled"
        found["cold"].append(start(root, "first", cache, setting))
        start(root, "first", cache, setting)  # Also caches what is compiled after a stop.
        for number in range(times):
            found["warm"].append(start(root, f"warm{number}", cache, setting))
            found["resumed"].append(start(root, f"warm{number}", cache, setting))
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    lines = [f"| start | {' | '.join(STAGES)} | all | {READING} |"]
    lines.append("| --- " * (len(STAGES) + 3) + "|")
    for name, starts in found.items():
        seconds = [statistics.median(each[stage] for each in starts) for stage in STAGES]
        whole = statistics.median(sum(each[stage] for stage in STAGES) for each in starts)
        reading = statistics.median(each[READING] for each in starts)
        cells = " | ".join(f"{x:.1f}" for x in [*seconds, whole, reading])
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    sys.path.insert(0, str(REPOSITORY))
    from rcc_jax.commands import huge_pages

    huge_pages.ask()  # As main.py does; the starts inherit the setting.
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--times", type=int, default=3, help="starts of each kind except cold")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.times < 1:
        parser.error("give at least --times=1")
    setting = {**SIZES[arguments.size], "batch": BATCH}
    found = measure(setting, arguments.times)
    print(f"{setting}; seconds, medians of {arguments.times}, cold once\n{table(found)}")
    if arguments.results:
        import environment  # Imported here because it loads JAX, which this script does not need.

        record = {**environment.describe(), "setting": setting, "seconds": found}
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        del sys.argv[1]
        child()
    else:
        main()
