"""Runs `compare` under callgrind for every contender and scenario, and prints the tables as Markdown."""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

ROWS = [
    ("memory", "unused-no-cookie", "session unused, no cookie", 2300),
    ("memory", "unused-cookie", "session unused, valid cookie", 2300),
    ("memory", "read", "memory: read a number", 4500),
    ("memory", "increment", "memory: read and increment", 7000),
    ("memory", "read-one", "memory: read 1 of 20 values, 1 KiB", 7000),
    ("memory", "change-one", "memory: change 1 of 20 values, 2.8 kB", 14000),
    ("encrypted", "unused-cookie", "encrypted cookie: unused, valid cookie", 2300),
    ("encrypted", "read", "encrypted cookie: read a number", 7000),
    ("encrypted", "increment", "encrypted cookie: read and increment", 12000),
    ("encrypted", "read-one", "encrypted cookie: read 1 of 20 values, 1 KiB", 18000),
    ("encrypted", "change-one", "encrypted cookie: change 1 of 20 values, 2.8 kB", 60000),
]
OURS, FLOOR = "session-state", "hand-written"
# What is subtracted: the same answers without a session.
BARE, BARE_ACTIX = "bare", "bare-actix"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)


def measure(binary, contender, place, scenario, requests):
    """Instructions and allocations of one request."""
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "callgrind.out")
        done = run("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--toggle-collect=*measured_poll*",
                   "--toggle-collect=*measured_drop*", binary, contender, place, scenario, str(requests))
    instructions = int(re.search(r"Collected : (\d+)", done.stderr).group(1))
    return instructions / requests, float(done.stdout.split()[1])


def first_table(binary, contenders, available, requests):
    # Under callgrind a contender's threads make no difference, so two measurements run at a time.
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        cells = {}
        for place, scenario, _, _ in ROWS:
            for contender in contenders:
                if (contender, place, scenario) in available:
                    cells[contender, place, scenario] = pool.submit(measure, binary, contender, place, scenario, requests)
        cells = {cell: future.result() for cell, future in cells.items()}
    shown = [contender for contender in contenders if contender not in (BARE, BARE_ACTIX)]
    print("Instructions over the bare router, and allocations over it, of one request.\n")
    print("| |", " | ".join(shown), "| goal | best peer |")
    print("| --- |" + " --- |" * (len(shown) + 2))
    for place, scenario, title, goal in ROWS:
        line, peers = [], []
        for contender in shown:
            cell = cells.get((contender, place, scenario))
            if cell is None:
                line.append("–")
                continue
            bare = cells[BARE_ACTIX if contender == "actix-session" else BARE, place, scenario]
            instructions, allocations = cell[0] - bare[0], cell[1] - bare[1]
            line.append(f"{thousands(instructions)} · {allocations:.1f}")
            if contender not in (OURS, FLOOR):
                peers.append((instructions, contender))
        best = min(peers, default=None)
        print(f"| {title} |", " | ".join(line), f"| {thousands(goal)} |", f"{thousands(best[0])} ({best[1]}) |" if best else "– |")
    bare = cells[BARE, "memory", "unused-no-cookie"]
    print(f"\nThe bare router itself: {thousands(bare[0])} instructions, {bare[1]:.1f} allocations.\n")


def second_table(binary, contenders, sessions):
    load, processors = os.getloadavg()[0], os.cpu_count()
    if load > 0.5:
        print(f"The machine was busy: a load of {load:.1f} on {processors} processors. The last row says little.\n")
    print("| |", " | ".join(contenders), "|\n| --- |" + " --- |" * len(contenders))
    live, resident, speedups = [], [], []
    for contender in contenders:
        words = run(binary, "bytes", contender, str(sessions)).stdout.split()
        live.append(words[1])
        resident.append(words[3])
        speedups.append(run(binary, "threads", contender, "200000").stdout.strip() + "×")
    print(f"| bytes a session asked of the allocator, {thousands(sessions)} sessions of 100 bytes |", " | ".join(live), "|")
    print("| bytes a session resident in memory |", " | ".join(resident), "|")
    print("| two threads against one, read and increment |", " | ".join(speedups), "|")


def thousands(number):
    return f"{round(number):,}".replace(",", " ")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    options = parser.parse_args()
    available = {tuple(line.split()) for line in run(options.binary, "list").stdout.splitlines()}
    contenders = list(dict.fromkeys(
        line.split()[0] for line in run(options.binary, "list").stdout.splitlines()))
    if options.only:
        contenders = [one for one in contenders if one in (BARE, BARE_ACTIX, *options.only)]
    first_table(options.binary, contenders, available, options.requests)
    sys.stdout.flush()
    if not options.quick:
        stores = [one for one in contenders if one not in (BARE, BARE_ACTIX) and (one, "memory", "read") in available]
        second_table(options.binary, stores, options.sessions)


if __name__ == "__main__":
    main()
