"""What can be done with a record: play it again (`replay`), look at it (`timeline`) (PROTOCOL.md, REC-*).

`conversation` sorts frames by the command they belong to. For a replay `pacing` says when each command may be sent,
`player` holds the second conversation, `compare` tells where it went another way; `gather` and `page` make a page of
HTML. Uses the wire and the client's process, nothing of a worker's inside.
"""
