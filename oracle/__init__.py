"""The oracle service: n signers coordinate rounds, verify work, agree on one report per epoch and attest it on chain.

`oracle.service` is the cycle and reads top to bottom. Nothing here imports torch: replay runs in a process of its own.
"""
