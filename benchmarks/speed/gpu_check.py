"""Check astrodl on a GPU: tests, speed, larger batches, larger surveys, compiled networks; at most eight minutes.

    bash benchmarks/speed/gpu_check.sh OUT

The parts run one after the other, each in a process of its own, and write their results to files in OUT as they go. A
part that fails or runs out of time does not stop the others. The same command goes on where the last one ended: what
was measured is kept, and what failed is tried again. At the end a line per part says whether its goals were met, and
OUT/gpu_check.json holds all numbers. `--record` writes the tables into docs/performance.md; where all parts in OUT are
complete this needs no GPU.

`--device cpu --quick` rehearses all this with small networks on a CPU. What needs CUDA is then skipped.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpu import Row, record, speed_tables, table
from gpu_parts import MODES, PARTS, run_part
from read import DOCS

from astrodl import tasks
from astrodl.atomic import write_json

SECONDS = {"device": 15, "tests": 100, "speed": 120, "batches": 55, "surveys": 55, "compiled": 105}
"""Time of each part; what one part leaves is for the next ones."""
GRACE = 25
"""Seconds after its time until a part is killed."""
LIMIT_GOAL, PREDICTION_GOAL, LOOP_GOAL, SURVEY_GOAL = 0.95, 0.9, 3.0, 0.95

KILLED = "killed, because its time was over"

Verdict = tuple[bool, str]
"""Whether the goals were met, and a line of text."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--tasks", nargs="+", default=tasks.NAMES, choices=tasks.NAMES, metavar="TASK")
    parser.add_argument("--quick", action="store_true", help="small networks and few objects, to rehearse on a CPU")
    parser.add_argument("--minutes", type=float, default=7.5, help="time of all parts together (default: 7.5)")
    parser.add_argument("--record", action="store_true", help="write the tables into docs/performance.md")
    parser.add_argument("--run", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.run:
        seconds = 60 * options.minutes
        run_part(options.run, options.out, options.device, quick=options.quick, names=options.tasks, seconds=seconds)
        return 0
    report = run_parts(options)
    if options.record:
        record_report(report, options.out, DOCS / "performance.md")
    return int(any(part["status"] in ("FAILED", "INCOMPLETE") for part in report["parts"].values()))


def run_parts(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts that are not complete, print the verdicts, and return all results."""
    chosen = [part for part in PARTS if part in ("device", *options.parts)]
    complete = {part: is_complete(read_part(options.out, part), options.tasks) for part in chosen}
    scale = 60 * options.minutes / sum(SECONDS.values())
    deadline = time.monotonic()
    ended: dict[str, str] = {}
    for part in chosen:
        deadline += scale * SECONDS[part]
        # the device is looked at again, since results of another one cannot be continued
        kept = all(complete.values()) if part == "device" else complete[part]
        print(f"== {part}{': kept' if kept else ''}", flush=True)
        ended[part] = "" if kept else run_process(part, options, deadline - time.monotonic())
        if part == "device" and ended[part]:
            break
    report = {"quick": options.quick, "parts": {}}
    print()
    for part in PARTS:
        if part in ended or (options.out / f"{part}.json").exists():
            result = judge(read_part(options.out, part), part, ended.get(part, ""), quick=options.quick)
            report["parts"][part] = result
            print(f"{result['status']:<10} {part}: {result['verdict']}")
    write_json(options.out / "gpu_check.json", report)
    return report


def read_part(out: Path, part: str) -> dict[str, Any]:
    """Read the results of a part; those of a part that never ran are empty."""
    path = out / f"{part}.json"
    nothing = {"complete": False, "names": [], "rows": {}, "errors": {}}
    return json.loads(path.read_text()) if path.exists() else nothing


def is_complete(results: dict[str, Any], names: Sequence[str]) -> bool:
    """Return whether a part has all results for these tasks."""
    return results["complete"] and set(names) <= set(results["names"])


def run_process(part: str, options: argparse.Namespace, seconds: float) -> str:
    """Run a part in a process and return what went wrong with it, if anything."""
    command = [sys.executable, __file__, str(options.out), "--run", part, "--device", options.device]
    command += ["--minutes", str(seconds / 60), "--tasks", *options.tasks, *(["--quick"] if options.quick else [])]
    process = subprocess.Popen(command, start_new_session=True)  # with its own workers, which end with it
    try:
        status = process.wait(max(seconds, 0) + GRACE)
    except subprocess.TimeoutExpired:
        return KILLED
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return f"ended with status {status}" if status else ""


# -- verdicts ---------------------------------------------------------------------------------------------------------


def judge(results: dict[str, Any], part: str, ended: str, *, quick: bool) -> dict[str, Any]:
    """Add status and verdict to the results of a part; the speeds of small networks are not judged."""
    rows, errors = results["rows"], results["errors"]
    met, text = JUDGES[part](rows) if rows else (False, "no results")
    problems = [f"{key}: {message}" for key, message in errors.items()] + [ended] * bool(ended)
    if problems and problems != [KILLED]:
        status = "FAILED"
    elif not results["complete"]:
        status, text = "INCOMPLETE", f"{text}; give the same command again for the rest"
    elif "skipped" in rows:
        status = "SKIPPED"
    else:
        status = "REHEARSED" if quick else "OK" if met else "MISSED"
    return {**results, "status": status, "verdict": "; ".join([text, *problems])}


def judge_device(rows: dict[str, Row]) -> Verdict:
    return True, rows["description"]["text"].strip() if "description" in rows else "not described"


def judge_tests(rows: dict[str, Row]) -> Verdict:
    skipped = [row["reason"] for row in rows.values() if row["outcome"] == "skipped"]
    reasons = f" ({', '.join(sorted(set(skipped)))})" if skipped else ""
    return True, f"{len(rows) - len(skipped)} passed, {len(skipped)} skipped{reasons}"


def judge_speed(rows: dict[str, Row]) -> Verdict:
    loop = statistics.geometric_mean(row["loop"] for row in rows.values())
    verdicts = [
        worst(rows, "limit", LIMIT_GOAL, "training, of the limit"),
        worst(rows, "predict_limit", PREDICTION_GOAL, "prediction, of the limit"),
        (loop >= LOOP_GOAL, f"training is {loop:.1f} x the plain loop (goal {LOOP_GOAL:.0f})"),
    ]
    return all(met for met, _ in verdicts), "; ".join(text for _, text in verdicts)


def worst(rows: dict[str, Row], key: str, goal: float, label: str) -> Verdict:
    row = min(rows.values(), key=lambda row: row[key])
    return row[key] >= goal, f"{label} at least {row[key]:.2f} ({row['task']}, goal {goal})"


def judge_batches(rows: dict[str, Row]) -> Verdict:
    met, text = worst(rows, "limit", LIMIT_GOAL, "of the limit")
    gains = ", ".join(f"{row['task']} {row['gain']:.1f} x with {row['batch']}" for row in rows.values())
    return met, f"{gains}; {text}"


def judge_surveys(rows: dict[str, Row]) -> Verdict:
    """Compare the smallest and the largest survey of small images, and streamed with resident batches for all."""
    alike = [row for row in rows.values() if row["pixels"] == min(row["pixels"] for row in rows.values())]
    small, large = (function(alike, key=lambda row: row["objects"]) for function in (min, max))
    held = {way: large[way] / small[way] for way in ("resident", "streamed")}
    changes = ", ".join(f"{way} {value:.2f}" for way, value in held.items())
    met, streamed = worst(
        {key: {**row, "task": key} for key, row in rows.items()}, "share", SURVEY_GOAL, "streamed of resident"
    )
    text = f"{large['objects']:,} objects against {small['objects']:,}: {changes} (goal {SURVEY_GOAL})"
    return met and min(held.values()) >= SURVEY_GOAL, f"{text}; {streamed}"


def judge_compiled(rows: dict[str, Row]) -> Verdict:
    if "skipped" in rows:
        return True, rows["skipped"]["reason"]
    compiled = [row for row in rows.values() if "batch" in row]
    gains = {mode: statistics.geometric_mean(row[mode] for row in compiled) for mode in MODES if compiled}
    best = max(gains, key=lambda mode: gains[mode], default="off")
    means = ", ".join(f"{mode} {gain:.2f} x" for mode, gain in gains.items() if mode != "off")
    return True, f"{means or 'nothing to compile'}; train.compile should be {best}" + " on a GPU" * (best != "off")


JUDGES: dict[str, Callable[[dict[str, Row]], Verdict]] = {
    "device": judge_device,
    "tests": judge_tests,
    "speed": judge_speed,
    "batches": judge_batches,
    "surveys": judge_surveys,
    "compiled": judge_compiled,
}


# -- report -----------------------------------------------------------------------------------------------------------


def record_report(report: dict[str, Any], out: Path, page: Path) -> None:
    """Write the tables into a documentation page."""
    identity = report["parts"]["device"]["rows"].get("identity", {"name": "CPU"})
    if identity["name"] == "CPU" or identity["small"]:
        raise SystemExit(f"{out}: results of {identity}; only those of a GPU and of the default networks are recorded")
    try:
        record(page, "device-cuda", write_report(report))
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"not recorded, because {error.name} is not installed: copy {out} to a machine with astrodl and its "
            "documentation, and give the same command there"
        ) from None


def write_report(report: dict[str, Any]) -> str:
    """Return all tables and verdicts as Markdown."""
    parts = report["parts"]
    rows = {part: list(result["rows"].values()) for part, result in parts.items()}
    lines = [parts["device"]["verdict"], ""]
    if rows.get("speed"):
        lines += speed_tables(rows["speed"])
    if rows.get("batches"):
        lines += batch_table(rows["batches"])
    if compiled := [row for row in rows.get("compiled", ()) if "batch" in row]:
        lines += compiled_table(compiled)
    if rows.get("surveys"):
        lines += survey_table(rows["surveys"])
    judged = [[part, result["status"].lower(), result["verdict"]] for part, result in parts.items() if part != "device"]
    return "\n".join([*lines, *table(["part", "status", "verdict"], judged)])


def batch_table(rows: Sequence[Row]) -> list[str]:
    head = ["largest sensible batch", "objects", "images/s", "x default batch", "of the limit", "x plain loop", "busy"]
    return table(
        head,
        [
            [
                row["task"],
                str(row["batch"]),
                f"{row['images']:,.0f}",
                *(f"{row[name]:.2f}" for name in ("gain", "limit", "loop")),
                "–" if row["busy"] is None else f"{row['busy']:.0%}",
            ]
            for row in rows
        ],
    )


def compiled_table(rows: Sequence[Row]) -> list[str]:
    modes = [mode for mode in MODES if mode != "off"]
    head = ["`train.compile`", "batch", "images/s, off", *(f"x {mode} (start s)" for mode in modes)]
    cells = [[f"{row[mode]:.2f} ({row['start'][mode]:.0f})" for mode in modes] for row in rows]
    return table(
        head,
        [
            [row["task"], str(row["batch"]), f"{row['images']:,.0f}", *values]
            for row, values in zip(rows, cells, strict=True)
        ],
    )


def survey_table(rows: Sequence[Row]) -> list[str]:
    head = [
        "photo-z, objects",
        "pixels",
        "resident, images/s",
        "streamed, images/s",
        "streamed / resident",
        "loading s",
    ]
    return table(
        head,
        [
            [
                f"{row['objects']:,}",
                str(row["pixels"]),
                *(f"{row[way]:,.0f}" for way in ("resident", "streamed")),
                f"{row['share']:.2f}",
                f"{row['loading']:.1f}",
            ]
            for row in rows
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
