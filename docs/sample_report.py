"""Make the sample report anew: run the demo, and keep the report it ends with.

python docs/sample_report.py     writes docs/sample-report/ (about three minutes)

Nobody is in it: the demo judges synthetic scans. `docs/generate.py` draws its page again whenever
the page changes, from the numbers and pictures kept there.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SAMPLE = Path(__file__).parent / "sample-report"
KEPT = ("report.html", "report.json", "model_card.md")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        subprocess.run([sys.executable, "-m", "medssl", "demo", "--out", str(out)], check=True)
        SAMPLE.mkdir(exist_ok=True)
        for name in KEPT:
            shutil.copyfile(out / "runs" / "evaluate" / name, SAMPLE / name)


if __name__ == "__main__":
    main()
