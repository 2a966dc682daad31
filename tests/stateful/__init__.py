"""Whole lives of jobs, made up by Hypothesis, against a world that breaks down in every way."""
