"""The same job in other stream processors, written as a competent user of each would; only the benchmark has them."""
