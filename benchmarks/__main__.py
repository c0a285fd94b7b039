"""Run the benchmarks and print their table: ``python -m benchmarks [--quick] [--only NAME]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import (
    accuracy,
    agreement,
    echo,
    edits,
    files,
    imports,
    journal,
    metrics,
    pictures,
    plots,
    quality,
    redraw,
    template,
    traffic,
    viewer,
)
from .rig import Rig
from .synthetic import default_folder
from .table import Row, render

MEASURES: dict[str, Callable[[Rig], list[Row]]] = {
    "click": echo.measure_clicks,
    "drag": echo.measure_drag,
    "messages": traffic.measure_messages,
    "first-image": pictures.measure_first_image,
    "photograph": pictures.measure_photograph,
    "memory": pictures.measure_memory,
    "redraw": redraw.measure_redraw,
    "accuracy": accuracy.measure_accuracy,
    "template": template.measure_template,
    "read-train": files.measure_read_train,
    "read-val": files.measure_read_val,
    "save-train": files.measure_save_train,
    "yolo": files.measure_yolo,
    "write-formats": files.measure_write_formats,
    "edits": edits.measure_edits,
    "journal": journal.measure_journal,
    "session": journal.measure_session,
    "plot-image": plots.measure_plot_image,
    "contact-sheet": plots.measure_contact_sheet,
    "viewer": viewer.measure_viewer,
    "oks": metrics.measure_oks,
    "sigmas": agreement.measure_sigmas,
    "agreement": agreement.measure_agreement,
    "quality": quality.measure_quality,
    "import": imports.measure_imports,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few samples: to see that it works")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(MEASURES),
        metavar="NAME",
        help=f"one of {', '.join(MEASURES)}; may be given more than once",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=default_folder(),
        help="where the large made files are kept from run to run (default: %(default)s)",
    )
    options = parser.parse_args()
    rows: list[Row] = []
    failed: list[str] = []
    with Rig(options.quick, options.folder) as rig:
        for name in options.only or MEASURES:
            start = time.monotonic()
            try:
                rows += MEASURES[name](rig)
            except Exception as error:  # one that cannot be measured must not hide the others
                failed.append(f"{name}: {type(error).__name__}: {error}")
            said = f"{name}: {time.monotonic() - start:.0f} s"
            print(said, file=sys.stderr, flush=True)
    print(render(rows))
    for line in failed:
        print(f"NOT MEASURED  {line}")
    return 1 if failed or any(row.is_reached is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
