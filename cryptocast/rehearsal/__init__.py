"""The fake upstream: a stand-in CoinGecko on a real socket of the loopback, with everything that can go wrong.

In: a seed, a clock, a script of faults. Out: an address that answers like the upstream, and counts of what was asked.
It never reaches beyond this machine, never touches the store, and nothing of the package depends on it.
"""

from cryptocast.rehearsal.calls import Call, Calls, ConnectionCounts
from cryptocast.rehearsal.coins import Coin, catalogue
from cryptocast.rehearsal.faults import CYCLE, FAULTS, Cycle, Fault, Rule, Script, read_script, script_of
from cryptocast.rehearsal.plans import DEMO_KEY, PRO_KEY, Limits
from cryptocast.rehearsal.process import instructions, run
from cryptocast.rehearsal.quirks import CLEAN, USUAL, WORST, Quirks
from cryptocast.rehearsal.upstream import FakeUpstream

__all__ = [
    "CLEAN",
    "CYCLE",
    "DEMO_KEY",
    "FAULTS",
    "PRO_KEY",
    "USUAL",
    "WORST",
    "Call",
    "Calls",
    "Coin",
    "ConnectionCounts",
    "Cycle",
    "FakeUpstream",
    "Fault",
    "Limits",
    "Quirks",
    "Rule",
    "Script",
    "catalogue",
    "instructions",
    "read_script",
    "run",
    "script_of",
]
