"""Defects that the tests of money must find: the checker is checked."""
