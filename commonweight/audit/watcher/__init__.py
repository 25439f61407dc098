"""A watcher: recomputes every report as it is filed and, with a key, plays section 4.4 of the specification to its end.

`cases` says what a report is judged by, `moves` what should be done now (pure), `reading` makes the cases of one block,
`equivocation` finds signers who signed twice, `sending` puts moves on chain, and `service` is the loop.
"""
