"""What can be done with a record: play it again (`replay`), look at it (`timeline`) (PROTOCOL.md, REC-*).

`reading` refuses what is no record, `conversation` sorts frames by the command they belong to. For a replay `pacing`
says when each command may be sent and `ending` how the worker came to its end, `player` holds the second conversation
with a `subject`, `compare` tells where it went another way; `gather` and `timeline` make a page of HTML. Uses the wire
and the client's process, nothing of a worker's inside.
"""
