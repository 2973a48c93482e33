"""CoinGecko: its history in pages, its live prices, its list of coins, and the calls that a plan gives."""
