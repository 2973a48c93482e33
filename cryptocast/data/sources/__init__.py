"""Where candles come from: one folder a source, each behind the questions of `base.Source`, all of them in `table`.

In: answers of an upstream, the user's files, prices inside the package, a seed. Out: closed bars, and what the rest of
the program must know of them. A source never writes into the store, and never mixes its bars with those of another.
"""
