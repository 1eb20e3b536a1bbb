"""Counts the instructions of a request to a store, through our adapter and by hand, and prints them as Markdown.

    cargo build --release --features adapters --bin adapters
    python3 adapters.py target/release/adapters sqlite:file.db?mode=rwc redis://localhost:6379 ...

Needs valgrind, and a server for each URL that nobody else uses. Counted is the whole process with all its threads: the
difference between a run with few requests and one with many. A request waits for the server, so it varies by about 1 %
with how often the runtime is woken.
"""

import concurrent.futures
import re
import subprocess
import sys

REQUESTS = ["load", "update", "touch"]
FEW, MANY = 300, 1300
GOAL = 2500


def instructions(binary, url, whose, request, requests):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary, url, whose, request, str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[3:])}: {done.stderr}")
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def of_one(binary, url, whose, request):
    few, many = (instructions(binary, url, whose, request, requests) for requests in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def main():
    binary, *urls = sys.argv[1:]
    print("| instructions of a request | ours | by hand | the crate adds |\n| --- | --- | --- | --- |")
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(urls)) as pool:
        for rows in pool.map(lambda url: rows_of(binary, url), urls):
            print("\n".join(rows), flush=True)


def rows_of(binary, url):
    rows = []
    for request in REQUESTS:
        ours, by_hand = (of_one(binary, url, whose, request) for whose in ("ours", "hand"))
        title = request if request == "load" else f"load and {request}"
        rows.append(f"| {url.split(':')[0]}: {title} | {ours:,.0f} | {by_hand:,.0f} | {ours - by_hand:,.0f} |".replace(",", " "))
    return rows


main()
