"""The contracts of a run against an independent model of them, step by step on a real chain.

The model is section 4 of the specification as Python in exact integers, one file for each part: `campaign`, `registry`,
`signers`, `epochs`, `ledger`, `distributor`, `payments`, `disputes`, put together in `run`. It was written from the
specification and from what the interfaces promise, and shares no code with the contracts or their bindings: trees
(`tree`) and signed structs (`typed`) are its own. `steps` draws what actors do, `prefixes` says where sequences start,
`chain` does the same on a node, `views` compares every figure, and `invariants` checks section 4.6 on the chain's own
figures.
"""
