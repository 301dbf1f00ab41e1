"""Every comparison, side by side, in turn: prints the ratio of each pair, then medians with the lowest and the highest.

    uv run --group bench benchmarks/run.py [NAMES ...] [--repeat 5] [--quick] [--write]

NAMES are subjects (epoch conv loader gpu screen start growth viewers protections) or single ones such as epoch/skorch;
without any, all. With --write the figures go into results.json beside what is there, and RESULTS.md is written anew
from it. The machine should have nothing else to do.
"""

import argparse
import datetime
import importlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import machine
from comparisons import QUIET, Comparison, all_comparisons, disturbance, ratio, steady
from peers.fashion import DEBIAN, unzipped
from results import COMPARED, MEASURED, MODULES, RAW, TABLES, Results
from turns import SideFailed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAMES")
    parser.add_argument("--repeat", type=int, help="pairs of each comparison (5; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="one pair, few epochs and batches: does it work at all?")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {RAW.name} and {TABLES.name}")
    parser.add_argument("--data", type=Path, default=DEBIAN, help="folder of the four files, unzipped or .gz")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a side must not train on without its benchmark
    comparisons = all_comparisons(arguments.quick)
    known = [*COMPARED, *MEASURED, *(c.full_name for c in comparisons)]
    known += [f"{subject}/{module}" for subject, modules in MODULES.items() for module in modules]
    names = arguments.names or [*COMPARED, *MEASURED]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such comparison: {', '.join(unknown)}. There are: {', '.join(known)}")

    def chosen(subject: str, name: str) -> bool:
        return subject in names or name in names

    results, repeats = Results(), arguments.repeat or (1 if arguments.quick else 5)
    facts = {
        "machine": machine.describe(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "quick": arguments.quick,
    }
    print(facts["machine"], flush=True)
    failed: list[str] = []

    def keep(name: str, found: dict[str, Any]) -> None:
        if arguments.write and results.keep(name, facts | found):
            results.write(comparisons)

    for subject in COMPARED:
        run = [c for c in comparisons if c.subject == subject and chosen(subject, c.full_name)]
        if subject == "gpu" and run and machine.gpu() is None:
            print("gpu: not measured: no GPU here")
            run = []
        for comparison, pairs in compare(run, repeats, arguments.data, failed):
            keep(comparison.full_name, {"title": comparison.title, "least": comparison.least, "pairs": pairs})
    for subject, modules in MODULES.items():
        for module in modules:
            if chosen(subject, name := f"{subject}/{module}"):
                print(f"{name}:", flush=True)
                try:
                    figures = importlib.import_module(module).measure(arguments.quick)
                except (Exception, SystemExit) as failure:  # the other figures are wanted all the same
                    print(f"{name}: failed, {failure!r}", flush=True)
                    failed.append(name)
                    continue
                for figure in figures:
                    print(f"  {figure}", flush=True)
                keep(name, {"figures": [figure.as_plain() for figure in figures]})
    if arguments.write:
        results.write(comparisons)
        print(f"written: {TABLES}. A measurement of more pairs, or one that was not quick, stays as it was.")
    return 1 if failed else 0


def compare(
    comparisons: list[Comparison], repeats: int, data: Path, failed: list[str]
) -> Iterator[tuple[Comparison, list[dict[str, Any]]]]:
    """After each pair, the pairs of that comparison so far.

    All comparisons are gone through once before the second pair of the first, so that a slow minute hits all alike.
    """
    pairs: dict[Comparison, list[dict[str, Any]]] = {}
    for comparison in comparisons:
        if comparison.version() is None:
            print(f"{comparison.full_name}: not installed")
        else:
            pairs[comparison] = []
    if pairs:
        unzipped(data)  # torchvision reads unzipped files; to make them is nobody's time
    for repeat in range(repeats):
        for comparison in list(pairs):
            try:
                pair = comparison.pair(repeat, data)
            except SideFailed as failure:
                print(f"{comparison.full_name}: failed, {failure}", flush=True)
                failed.append(comparison.full_name)
                del pairs[comparison]
                continue
            pairs[comparison].append(pair)
            print(f"{comparison.full_name}: {as_line(pair)}", flush=True)
            yield comparison, pairs[comparison]
    for comparison, found in pairs.items():
        ratios = [ratio(pair) for pair in found]
        target = f", target {comparison.least:.3g}" if comparison.least else ""
        print(
            f"{comparison.full_name}: ours is {median(ratios):.3f} times as fast, from {min(ratios):.3f} to "
            f"{max(ratios):.3f} in {len(ratios)}{target}",
            flush=True,
        )


def as_line(pair: dict[str, Any]) -> str:
    """A pair in words."""
    ours, theirs = pair["ours"], pair["theirs"]
    right = "none" if theirs["accuracy"] is None else f"{theirs['accuracy']:.4f}"
    line = f"ratio {ratio(pair):.3f}, an epoch {steady(ours):.3f} s against {steady(theirs):.3f} s, "
    line += f"accuracy {ours['accuracy']:.4f} against {right}, "
    line += f"whole process {ours['process_seconds']:.1f} s against {theirs['process_seconds']:.1f} s"
    if (cores := disturbance(pair)) > QUIET:
        line += f"; DISTURBED: others kept {cores:.2f} cores busy, so this ratio says nothing"
    return "; ".join([line, *ours["warned"]])


if __name__ == "__main__":
    sys.exit(main())
