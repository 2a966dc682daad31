"""Whole lives of jobs, on the product as `make run` starts it: real processes, real servers."""
