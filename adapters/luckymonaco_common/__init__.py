"""The family of LuckyMonaco and Kyren: one envelope, one list of codes, the same callbacks, under other paths.

`settings` what a provider of the family is configured with · `closing` the close and its answer · `codes` what the
codes mean · `callbacks` what the provider tells us · `replies` what we answer · `strict_json` and `money` how both are
read and written · `simulator` the provider's side, which shares nothing with the rest.
"""

from adapters.contract import SensitiveFields

MASKED = SensitiveFields(fields=frozenset({"token"}))
"""The only secret in the family's messages; `secureLogin` is a user name."""
