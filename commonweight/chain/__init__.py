"""The chain as the rest of the project sees it: an RPC client, keys, a typed wrapper per contract, events, deployment.

`client.Chain` talks to one chain over one or several RPC endpoints, `run.Run` bundles the contracts of one run, and
`local` starts a development chain. Nothing here imports torch, and nothing is read at import.
"""
