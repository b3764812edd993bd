"""`medssl --help`, from the shell's point of view: median of five runs. Bar: 0.3 s."""

import json
import statistics
import subprocess
import sys
import time

RUNS, BAR_S = 5, 0.3


def main() -> None:
    words = [sys.executable, "-m", "medssl", "--help"]
    seconds = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        seconds.append(time.perf_counter() - begun)
    result = {
        "benchmark": "help",
        "wall_s": round(statistics.median(seconds), 3),
        "bar": BAR_S,
        "fastest_s": round(min(seconds), 3),
        "slowest_s": round(max(seconds), 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
