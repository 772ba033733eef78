#!/usr/bin/env python3
"""Judges reports of the Autobahn|Testsuite: check.py RAISED DEFAULT, two folders with a report in each folder of theirs.
RAISED is of a hub whose limits are beyond all cases: each must pass. DEFAULT is of one with the limits that it has by
itself: what is beyond them must be closed as config/default.toml says, all else must pass. Ends with 1 where not."""

import collections
import json
import pathlib
import sys

# The whole of Autobahn|Testsuite 0.8.2 but groups 12 and 13, which are about compression: the hub offers none.
CASES = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1}

# As the suite itself has it: NON-STRICT goes against a SHOULD or a custom, INFORMATIONAL is what RFC 6455 leaves open.
PASSES = {"OK", "NON-STRICT", "INFORMATIONAL"}
# Of the end of a connection: FAILED, WRONG CODE and UNCLEAN fail a case. So does FAILED BY CLIENT, where the client got tired
# of waiting for the hub to close it, if the client had said goodbye: the hub must close it at once then (section 5.5.1).
# If the hub said it, it reads on for a moment so that its last words arrive; some cases of 6 wait for no longer than that.
CLOSES = {"OK", "INFORMATIONAL"}
TIRED = "FAILED BY CLIENT"

TOO_BIG = 1009
POLICY = 1008
# limits.frame_bytes (64 KiB): the messages of 9.1.1 and 9.2.1 just fit.
TOO_LONG = [
    *(f"9.{group}.{case}" for group in (1, 2) for case in range(2, 7)),
    *(f"9.{group}.{case}" for group in (3, 4) for case in range(1, 10)),
    *(f"9.{group}.{case}" for group in (5, 6) for case in range(1, 7)),
]
# limits.fragments (16): texts in frames of one byte, and 64 KiB in frames of 1300.
IN_TOO_MANY = ["6.2.3", "6.3.2", "10.1.1"]
# limits.frames_per_second: a thousand messages, each sent when the last one is back. A slow machine stays within.
TOO_FAST = [f"9.{group}.{case}" for group in (7, 8) for case in range(1, 7)]


def read(folder):
    """All cases of a run, which may be spread over several reports."""
    cases = {}
    for report in sorted(pathlib.Path(folder).glob("*/index.json")):
        for agent in json.loads(report.read_text()).values():
            assert not cases.keys() & agent.keys(), f"{report} has cases of another report"
            cases.update({case: {**result, "folder": report.parent} for case, result in agent.items()})
    return cases


def missing(cases):
    """What is wrong with the number of cases; a connection that is refused ends a suite without a word."""
    have = collections.Counter(case.split(".")[0] for case in cases)
    return [f"group {group}: {have[group]} cases, not {number}" for group, number in CASES.items() if have[group] != number]


def detail(result):
    return json.loads((result["folder"] / result["reportfile"]).read_text())


def passes(result):
    close = result["behaviorClose"]
    ended = close in CLOSES or (close == TIRED and not detail(result)["closedByMe"])
    return result["behavior"] in PASSES and ended


def fault(case, result):
    """A failed case for people."""
    found = detail(result)
    return (
        f"{case}: {result['behavior']} ({found['result']}), closed {result['behaviorClose']} with "
        f"{result['remoteCloseCode']} ({found['resultClose']}): {result['folder'] / result['reportfile']}"
    )


def refused(result, code):
    """Whether the hub ended it with this code, and said so."""
    return result["remoteCloseCode"] == code and not passes(result)


def order(case):
    return [int(part) for part in case.split(".")]


def main(raised_folder, default_folder):
    raised, default = read(raised_folder), read(default_folder)
    faults = [f"limits raised: {what}" for what in missing(raised)]
    faults += [f"default limits: {what}" for what in missing(default)]
    failed = sorted((case for case, result in raised.items() if not passes(result)), key=order)
    faults += [f"limits raised: {fault(case, raised[case])}" for case in failed]

    count = collections.Counter()
    for case in sorted(default, key=order):
        result = default[case]
        if case in TOO_LONG or case in IN_TOO_MANY:
            right = "refused with 1009" if refused(result, TOO_BIG) else None
        elif case in TOO_FAST and not passes(result):
            right = "refused with 1008" if refused(result, POLICY) else None
        else:
            right = "passed" if passes(result) else None
        count[right] += 1
        if right is None:
            faults.append(f"default limits: {fault(case, result)}")

    kinds = collections.Counter(result["behavior"] for result in raised.values())
    print("limits raised:", ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items(), key=lambda k: -k[1])))
    lax = sorted((case for case, result in raised.items() if result["behavior"] == "NON-STRICT"), key=order)
    if lax:
        print("  NON-STRICT:", " ".join(lax))
    print("default limits:", ", ".join(f"{number} {right or 'wrong'}" for right, number in count.items()))
    if faults:
        print(*faults, sep="\n", file=sys.stderr)
    print(f"{len(raised) - len(failed)} passed, {len(failed)} failed")
    sys.exit(bool(faults))


main(*sys.argv[1:])
