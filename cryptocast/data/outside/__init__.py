"""Outside series: values with a clock of their own, joined to bars by the moment at which each was known."""
