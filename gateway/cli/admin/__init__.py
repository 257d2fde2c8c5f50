"""Commands that call a running gateway over gRPC, for the people who run it and put right what it cannot.

`commands`, `providers` what can be asked · `options` what all commands take · `way` which gateway, how it is reached
`caller` the calls · `show` what is printed
"""
