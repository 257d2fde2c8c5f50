"""HTTP callbacks of providers. In the order of a callback's path:

- `server`: connections, their number and time limits.
- `reading`: how much of a connection is parsed, and when.
- `handler`: receives, authenticates, processes within the time limit, logs, replies.
- `auth`: checks the key and the source address.
- `routing`: finds the route; masks the request and the outcome.
- `processor`: decodes, applies, records.
- `response`: writes the reply.

`redelivery` processes a stored callback again.
"""
