"""The user's own prices, from a Parquet or CSV file."""
