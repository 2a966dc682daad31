"""What is outside: each folder is one capability, its ``__init__`` the protocol, its files the ways
to have it.

A gateway knows nothing of jobs, tables or settings. It turns everything an outside system can do to
us
into a value or one of the errors of ``gateways.errors``.
"""
