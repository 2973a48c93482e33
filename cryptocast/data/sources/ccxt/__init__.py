"""Any exchange that ccxt knows, asked in a process of its own; ccxt is an extra and never imported here."""
