"""A stand-in for the outside world: LNbits, two model servers and price feeds in one small server.

It moves no real money and thinks no thoughts, but it answers on the wire as the real ones do, so
the gateways of production also run on the bench and in tests. Never in production.

    python -m local.stand_in --port 8001 --data-dir .data/stand-in
"""
