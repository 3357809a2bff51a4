"""Record what a lane ran; show all records as one table.

report.py pytest LANE JUNIT_XML [NOTE]           a test suite, from the output of `pytest --junit-xml`
report.py counts LANE LOG [NOTE]                 C tests, from lines "N passed, M failed" and "skipped, REASON: TEST"
report.py compiled LANE [NOTE]                   compiled and linked, never run
report.py table                                  print the table, as reStructuredText

A record replaces the previous one of the same lane. If it contains a failure, it is written and the command fails.
"""

import json
import os
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from pathlib import Path

FOLDER = Path(os.environ.get("MEMMAP_REPORTS", Path(__file__).parents[2] / "build" / "lanes"))


def from_junit(path):
    cases = list(ET.parse(path).iter("testcase"))
    skipped = [
        (case.get("name"), case.find("skipped").get("message")) for case in cases if case.find("skipped") is not None
    ]
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    return {"ran": "test suite", "passed": len(cases) - failed - len(skipped), "failed": failed, "skipped": skipped}


def from_log(path):
    text = Path(path).read_text(errors="replace")
    found = re.findall(r"(\d+) passed, (\d+) failed", text)
    skipped = [(name, reason) for reason, name in re.findall(r"^skipped, (.+): (\w+)$", text, re.MULTILINE)]
    passed, failed = (sum(map(int, column)) for column in zip(*found, strict=True)) if found else (0, 0)
    return {"ran": "C tests", "passed": passed, "failed": failed, "skipped": skipped}


def compiled():
    return {"ran": "compiled and linked, never run", "passed": 0, "failed": 0, "skipped": []}


def record(lane, result, note=""):
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", lane).strip("-").lower()
    (FOLDER / f"{name}.json").write_text(json.dumps({"lane": lane, "note": note, **result}, indent=1) + "\n")
    counts = f"{result['passed']} passed, {result['failed']} failed, {len(result['skipped'])} skipped"
    print(f"{lane}: {result['ran']}, {counts}")
    if result["failed"]:
        return "tests failed"
    return "nothing was run" if result["passed"] == 0 and result["ran"] != compiled()["ran"] else None


def table():
    rows = sorted((json.loads(path.read_text()) for path in FOLDER.glob("*.json")), key=lambda row: row["lane"])
    if not rows:
        return "No test run is recorded on the machine that built this page."
    lines = [".. list-table::", "   :header-rows: 1", ""]

    def add(*cells):
        lines.extend(f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(cells))

    add("Lane", "What ran", "Passed", "Failed", "Skipped", "Note")
    for row in rows:
        counts = [row["passed"], row["failed"], len(row["skipped"])]
        if row["ran"] == compiled()["ran"]:
            counts = ["", "", ""]
        add(row["lane"], row["ran"], *counts, row["note"])
    for row in rows:
        reasons = defaultdict(Counter)
        for name, reason in row["skipped"]:
            reasons[reason][name.partition("[")[0]] += 1
        if reasons:
            lines += ["", f"Skipped in {row['lane']} (how often, with other parameters):", ""]
        for reason, names in reasons.items():
            lines += [f"- {reason}:", ",\n".join(f"  ``{name}`` ({count})" for name, count in names.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pytest", lane, path, *note]:
            sys.exit(record(lane, from_junit(path), *note))
        case ["counts", lane, path, *note]:
            sys.exit(record(lane, from_log(path), *note))
        case ["compiled", lane, *note]:
            sys.exit(record(lane, compiled(), *note))
        case ["table"]:
            print(table())
        case _:
            sys.exit(__doc__)
