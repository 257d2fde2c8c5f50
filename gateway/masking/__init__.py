"""Removes secrets from what is stored or shown: journal, log, errors, traces, replies.

- `mask`: the Mask of one provider's messages. It combines the two searches below.
- `by_field_name`: finds the values of secret JSON members and form fields.
- `by_value`: finds the secrets of the configuration, wherever they occur.
- `large_bodies`: runs decoding and masking of large bodies on threads, fairly between providers.
- `encodings`: decodes JSON and percent escapes, and maps positions back to the original.
- `ranges`: replaces the ranges that were found.
"""
