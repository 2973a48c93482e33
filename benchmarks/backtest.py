"""How long a backtest takes: cryptocast's simulation beside vectorbt and backtesting.py, in the same run.

python benchmarks/backtest.py [--peers PYTHON] [--beside CHECKOUT] [--cases 1x2k 1x1m 1000x2k] [--rounds 3]

Every contender runs in a process of its own on the same prices and 0/1 positions, decided at each close and filled
there, 0.1 % fee on each side, and tells total return, Sharpe ratio and deepest drawdown. `--peers` names a Python that
has the others, which need other versions of NumPy and pandas than cryptocast. One that is missing is said to be so.
`--beside` names a checkout of another release of cryptocast, which runs its own benchmark here.
Times are the best after one call that does not count but is shown (compiling): what a machine that others use can do
undisturbed. Ratios are to cryptocast; a bound that is missed makes the exit code 1.
backtesting.py's Sharpe ratio is another quantity, and so is not compared.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Figures: TypeAlias = tuple[Array, Array, Array]  # total return, Sharpe ratio, deepest drawdown; each (strategies,)

OWN = Path(__file__).resolve().parents[1]
CASES = {"1x2k": (1, 2_000), "1x1m": (1, 1_000_000), "1000x2k": (1_000, 2_000)}
BOUNDS_S = {"1x1m": 0.035, "1000x2k": 0.25}
FEE_BPS = 10.0
PERIODS = 8_760.0
BUDGET_S = 4.0  # for the timed calls of one process
MOST_ROWS = 20  # of a grid that backtesting.py runs; its time is scaled up


def data(case: str) -> tuple[Array, Mask]:
    """Hourly closes (T,) and positions (strategies, T), flat at first, that change 140 times each or so.

    More often would burn all equity in a million bars, and leave nothing but rounding to compare.
    """
    strategies, bars = CASES[case]
    rng = np.random.default_rng(7)
    close = 100.0 * np.exp(np.cumsum(10.0 / bars * rng.standard_t(5, bars)))
    switches = np.cumsum(rng.random((strategies, bars)) < 140.0 / bars, axis=1)
    switches[:, 0] = 0
    return close, switches % 2 == 1


def cryptocast(close: Array, held: Mask) -> Callable[[], Figures]:
    from cryptocast.evaluation.strategy import Costs, stretches
    from cryptocast.scoring.returns import ReturnSums

    costs = Costs(FEE_BPS)

    def run() -> Figures:
        sums = ReturnSums(len(held))
        for part in stretches(close, held, costs=costs):
            sums.add(part.net, part.rows)
        return sums.total_return, sums.sharpe(PERIODS), sums.max_drawdown

    return run


def vectorbt(close: Array, held: Mask, engine: str) -> Callable[[], Figures]:
    import pandas as pd
    import vectorbt as vbt

    index = pd.date_range("1900-01-01", periods=len(close), freq="h")
    prices, entries = pd.Series(close, index=index), pd.DataFrame(held.T, index=index)
    exits = ~entries

    def run() -> Figures:
        result = vbt.Portfolio.from_signals(
            prices, entries, exits, fees=FEE_BPS / 1e4, init_cash=1e6, freq="h", engine=engine
        )
        told = (result.total_return(), result.sharpe_ratio(), result.max_drawdown())
        return tuple(np.atleast_1d(value.to_numpy()) for value in told)  # type: ignore[return-value]

    return run


def backtesting(close: Array, held: Mask) -> Callable[[], Figures]:
    os.environ["TQDM_DISABLE"] = "1"
    import pandas as pd
    from backtesting import Backtest, Strategy

    class Follow(Strategy):  # type: ignore[misc, unused-ignore]
        def init(self) -> None:
            """Nothing to prepare: the positions come with the prices."""

        def next(self) -> None:
            wanted = self.data.Held[-1]
            if wanted and not self.position:
                self.buy()
            elif not wanted and self.position:
                self.position.close()

    index = pd.date_range("1900-01-01", periods=len(close), freq="h")
    frame = pd.DataFrame(dict.fromkeys(("Open", "High", "Low", "Close"), close) | {"Volume": 1.0}, index=index)

    def run() -> Figures:
        told = []
        for one in held[:MOST_ROWS]:
            test = Backtest(
                frame.assign(Held=one.astype(float)),
                Follow,
                cash=1e12,
                commission=FEE_BPS / 1e4,
                trade_on_close=True,
                finalize_trades=False,
            )
            result = test.run()
            told.append((result["Return [%]"] / 100, math.nan, result["Max. Drawdown [%]"] / 100))
        return tuple(np.array(column) for column in zip(*told, strict=True))  # type: ignore[return-value]

    return run


CONTENDERS: dict[str, Callable[[Array, Mask], Callable[[], Figures]]] = {
    "cryptocast": cryptocast,
    "vectorbt (rust)": lambda close, held: vectorbt(close, held, "rust"),
    "vectorbt (numba)": lambda close, held: vectorbt(close, held, "numba"),
    "backtesting.py": backtesting,
}


def child(name: str, case: str) -> dict[str, Any]:
    """Time one contender in this process."""
    warnings.simplefilter("ignore")
    close, held = data(case)
    try:
        run = CONTENDERS[name](close, held)
        began = time.perf_counter()
        told = run()
    except Exception as error:  # noqa: BLE001  whatever a peer trips over is its result
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:120]}
    first, times, spent = time.perf_counter() - began, list[float](), 0.0
    while len(times) < 15 and (spent < BUDGET_S or not times):
        began = time.perf_counter()
        told = run()
        times.append(time.perf_counter() - began)
        spent += times[-1]
    scale = len(held) / len(told[0])
    return {
        "first": first * scale,
        "times": [one * scale for one in times],
        "told": [one[:MOST_ROWS].tolist() for one in told],
    }


def in_process(python: str, name: str, case: str, release: Path = OWN) -> dict[str, Any]:
    """The same in a process of its own, of that checkout."""
    command = [python, str(release / "benchmarks" / "backtest.py"), "--child", name, case]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    variables = os.environ | threads | {"PYTHONPATH": str(release)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    lines = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(lines[-1]) if lines else {"error": done.stderr.strip()[-120:]}
    return result


def compare(case: str, python: str, other: Path | None, rounds: int) -> bool:
    """Print one table. Returns whether cryptocast kept its bound."""
    works = {"cryptocast": lambda: in_process(sys.executable, "cryptocast", case)}
    if other is not None:
        works["the other cryptocast"] = lambda: in_process(sys.executable, "cryptocast", case, other.resolve())
    works |= {name: partial(in_process, python, name, case) for name in CONTENDERS if name != "cryptocast"}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, found in results.items():
            if not found or "error" not in found[-1]:
                found.append(works[name]())
    print(f"\n{case}\n| contender | best, s | x cryptocast | first call, s | largest difference |")
    print("| --- | --- | --- | --- | --- |")
    ours = results["cryptocast"]
    if "error" in ours[-1]:
        print(f"| cryptocast | {ours[-1]['error']} | | | |")
        return False
    own = best(ours)
    for name, found in results.items():
        if "error" in found[-1]:
            print(f"| {name} | missing: {found[-1]['error']} | | | |")
            continue
        seconds, first = best(found), min(one["first"] for one in found)
        print(f"| {name} | {seconds:.4f} | {seconds / own:.1f} | {first:.2f} | {difference(ours[-1], found[-1]):.0e} |")
    return own <= BOUNDS_S.get(case, math.inf)


def best(found: list[dict[str, Any]]) -> float:
    return float(min(seconds for one in found for seconds in one["times"]))


def difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The largest of any figure that both tell, relative where it is above 1."""
    pairs = [(np.array(x), np.array(y)) for x, y in zip(a["told"], b["told"], strict=True)]
    return float(np.nanmax([np.nanmax(np.abs(x - y) / np.maximum(1.0, np.abs(x)), initial=0.0) for x, y in pairs]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=sys.executable, help="a Python that has vectorbt and backtesting")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(*arguments.child)))
        return
    slow = [case for case in arguments.cases if not compare(case, arguments.peers, arguments.beside, arguments.rounds)]
    for case in slow:
        print(f"\n{case}: slower than its bound of {BOUNDS_S.get(case)} s")
    raise SystemExit(1 if slow else 0)


if __name__ == "__main__":
    main()
