"""How much memory photographs with contexts need: the same training on few and on many of them.

Each size is measured in its own process: JPEG files are prepared (decoded into the mapped file), then a small
MLP is trained on them for one epoch and measured. Anonymous memory cannot be given back; mapped pages of the
images' file can be dropped by the system, and are counted separately.

    python benchmarks/memory.py --images 5000 50000
"""

import argparse
import io
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from spuriscope.contexts import RareContext, measure_context
from spuriscope.data.contexts import prepare_contexts
from spuriscope.training import Recipe, train_cell

SIDE = 64


def write_photographs(folder: Path, n: int) -> None:
    """Write files of noise in two contexts and two classes, all different."""
    random = np.random.RandomState(0)
    for number in range(n):
        path = folder / f"context{number % 2}" / f"class{number // 2 % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.randint(0, 256, (8, 8, 3), dtype=np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).resize((SIDE, SIDE)).save(content, "JPEG")
        path.write_bytes(content.getvalue())


class Watch(threading.Thread):
    """Peak memory of this process, in MB, by kind."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = {"RssAnon": 0.0, "RssFile": 0.0}
        self.start()

    def run(self) -> None:
        while True:
            for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(":")
                if name in self.most:
                    self.most[name] = max(self.most[name], int(value.split()[0]) / 1000)
            time.sleep(0.02)


def measure_one(source: Path, out: Path) -> None:
    """Prepare and train; prints both peaks."""
    watch = Watch()
    data = prepare_contexts(source, out, image_size=SIDE)
    prepared = dict(watch.most)
    cell = RareContext("context1", 0, 10).cell(data, model="small-mlp", recipe=Recipe(epochs=1))
    model = train_cell(cell, data, device="cpu")
    measure_context(model.predict, data, "context1", 0)
    size = (out / "images.u8").stat().st_size / 1e6
    print(
        f"| {len(data.train) + len(data.test):,} | {size:,.0f} | {prepared['RssAnon']:,.0f} "
        f"| {watch.most['RssAnon']:,.0f} | {watch.most['RssFile']:,.0f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 50000])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure_one(arguments.measure / "photographs", arguments.measure / "prepared")
        return
    print("| images | their file, MB | anonymous, preparing, MB | anonymous, training too, MB | mapped, MB |")
    print("| ---: | ---: | ---: | ---: | ---: |", flush=True)
    for n in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            write_photographs(Path(folder) / "photographs", n)
            subprocess.run([sys.executable, __file__, "--measure", folder], check=True)


if __name__ == "__main__":
    main()
