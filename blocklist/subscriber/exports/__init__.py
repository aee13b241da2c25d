"""Exports: what of the installed lists a daemon can enforce exactly, as a file of its format.

    names       which entries are names at all; everything else is skipped and counted
    rules       which names are blocked and which pass, exact under wildcards of DNS
    rpz         the rules as a response policy zone
    running     checkers and hooks: programs of the operator
    probe       does the live resolver block it?
    record      what is live, in `STATE/exports/<name>.json`
    export      one run: render, check, replace, hook, probe, record

A path entry never becomes a host block: formats of DNS take `Names`, which only `names.classify`
makes, from entries of kind `host` and `domain`.
"""

from blocklist.subscriber.exports.export import Exported, export, recorded
from blocklist.subscriber.exports.record import Definition, Record

__all__ = ["Definition", "Exported", "Record", "export", "recorded"]
