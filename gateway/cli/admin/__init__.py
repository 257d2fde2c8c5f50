"""Commands that call a running gateway over gRPC.

`reconcile`, `provider` the commands · `options` the options they share · `target` address and TLS · `client` the calls
`render` the output
"""
