"""Commands that call a running gateway over gRPC, for the people who put right what it cannot.

`commands` what can be asked · `way` which gateway, and how it is reached · `caller` the calls · `show` what is printed
"""
