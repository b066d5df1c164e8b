"""One line for each thing that was looked at, and an exit status at the end."""

import sys

_faults = 0


def ok(what):
    print(f"ok    {what}", flush=True)


def fail(what):
    global _faults
    _faults += 1
    print(f"FAIL  {what}", flush=True)


def skip(what, why):
    print(f"skip  {what}: {why}", flush=True)


def check(faults, what):
    """One line: `what` when there are no faults, otherwise each fault."""
    faults = list(faults)
    for fault in faults:
        fail(fault)
    if not faults:
        ok(what)


def end():
    sys.exit(1 if _faults else 0)
