"""The curve that Lightning and Ethereum sign on, secp256k1."""

HIGHEST_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half its order: above it is the mirror image of a signature, which is valid as well."""
