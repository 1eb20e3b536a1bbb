"""Counts what the processor executes for a request, and compares it with the committed baseline.

Called by `run --native`. Prints a table, and fails if a row of this crate takes more than 3 % more than the baseline.
The counts repeat to a tenth of a percent, but depend on the processor and the compiler: a baseline of others is not
compared, which is said. `--save` makes the present counts the baseline.
"""

import argparse
import concurrent.futures
import json
import os
import platform
import re
import subprocess
import sys

from table import BARE, FLOOR, OURS, ROWS, run, thousands

BOUND = "bound"
BASELINE = "baseline.json"
MARGIN = 0.03
# How many times the bound a request may take.
ALLOWED = 1.5
# Native goals, in the order of the rows.
GOALS = [2200, 2300, 4700, 7000, 5300, 8500, 2300, 7500, 13500, 15000, 50000]
# What changes the instructions that are chosen at run time.
FEATURES = {"avx2", "sha_ni", "aes", "pclmulqdq", "vaes", "vpclmulqdq", "avx512f", "avx512vl", "avx512_vbmi"}


def machine():
    with open("/proc/cpuinfo") as file:
        flags = re.search(r"^flags\s*:(.*)$", file.read(), re.M)
    features = sorted(FEATURES & set(flags.group(1).split() if flags else []))
    return {"features": " ".join(features), "rustc": run("rustc", "--version").stdout.strip()}


def measure(step, addresses, binary, contender, place, scenario, requests):
    done = run(step, addresses, binary, contender, place, scenario, str(requests))
    return int(done.stderr.split()[-1]) / requests


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("step")
    parser.add_argument("binary")
    parser.add_argument("--only", action="append")
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    if platform.machine() != "x86_64":
        print("!! SKIPPED: instructions are counted on x86-64 alone", file=sys.stderr)
        return 0
    symbols = run("nm", options.binary).stdout.splitlines()
    addresses = ",".join(line.split()[0] for line in symbols if "measured_poll" in line or "measured_drop" in line)
    contenders = [one for one in (OURS, BOUND, FLOOR) if not options.only or one in options.only]
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        cells = {
            (contender, place, scenario): pool.submit(
                measure, options.step, addresses, options.binary, contender, place, scenario, options.requests)
            for place, scenario, _, _ in ROWS for contender in (BARE, *contenders)
        }
        cells = {cell: future.result() for cell, future in cells.items()}
    counts = {
        contender: {
            f"{place} {scenario}": round(cells[contender, place, scenario] - cells[BARE, place, scenario])
            for place, scenario, _, _ in ROWS
        }
        for contender in contenders
    }
    here = machine()
    try:
        with open(BASELINE) as file:
            baseline = json.load(file)
    except FileNotFoundError:
        baseline = {}
    is_comparable = all(baseline.get(name) == value for name, value in here.items())
    worse = show(counts, baseline["counts"] if is_comparable else {})
    if options.save:
        with open(BASELINE, "w") as file:
            json.dump({**here, "counts": counts}, file, indent=2)
            file.write("\n")
    elif not is_comparable:
        print(f"\n!! SKIPPED: the baseline is of another processor or compiler than {here}", file=sys.stderr)
    elif worse:
        print(f"\nmore than {MARGIN:.0%} over the baseline: {', '.join(worse)}", file=sys.stderr)
        return 1
    return 0


def show(counts, baseline):
    """Prints the table, and returns the rows of this crate that are worse than the baseline allows."""
    print("Instructions that the processor executes for a request, over the bare router.\n")
    print("| |", " | ".join(counts), "| to the bound | goal | to the baseline |")
    print("| --- |" + " --- |" * (len(counts) + 3))
    worse = []
    for (place, scenario, title, _), goal in zip(ROWS, GOALS, strict=True):
        row = f"{place} {scenario}"
        cells = [thousands(of_one[row]) for of_one in counts.values()]
        ours, bound, before = (of.get(row) for of in (counts.get(OURS, {}), counts.get(BOUND, {}), baseline.get(OURS, {})))
        to_bound = f"{ours / bound:.2f}{'' if ours <= ALLOWED * bound else ' (!)'}" if ours and bound else "–"
        goal = f"{thousands(goal)}{'' if ours and ours <= goal else ' (!)'}"
        to_baseline = f"{ours / before:.3f}" if ours and before else "–"
        if ours and before and ours > (1 + MARGIN) * before:
            worse.append(title)
        print(f"| {title} |", " | ".join(cells), f"| {to_bound} | {goal} | {to_baseline} |")
    return worse


sys.exit(main())
